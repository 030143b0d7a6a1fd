"""The part of an app's config about the watch of a new release: `[app.watch]`."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from deployd.config.headers import Headers
from deployd.config.values import Duration, Reference, Section


def _prometheus_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError('expected the address of a Prometheus, such as "http://127.0.0.1:9090"')
    if parts.username is not None:
        raise ValueError("must not hold a user name or password; set token instead")
    return url.rstrip("/")


def _query(text: str) -> str:
    if not text.strip():
        raise ValueError("expected a query that gives one number, such as 'sum(rate(errors_total[30s]))'")
    return text


def _length(seconds: float) -> float:
    if not 1 <= seconds <= 86400:
        raise ValueError('must be between "1s" and "1d"')
    return seconds


class Prometheus(Section):
    """`app.watch.prometheus`"""

    url: Annotated[str, AfterValidator(_prometheus_url)]
    query: Annotated[str, AfterValidator(_query)]
    at_most: Annotated[float, Field(allow_inf_nan=False)]
    token: Reference | None = None
    headers: Headers = {}

    @model_validator(mode="after")
    def _one_authorization(self) -> Self:
        if self.token is not None and any(name.lower() == "authorization" for name in self.headers):
            raise ValueError("token and headers both set Authorization; leave it out of headers")
        return self


class Watch(Section):
    """`[app.watch]`"""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)

    length: Annotated[Duration, AfterValidator(_length)] = Field(30.0, alias="for")
    max_error_rate: Annotated[float, Field(gt=0, le=0.1)] = 0.005
    max_latency_ratio: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 3.0
    prometheus: Prometheus | None = None
