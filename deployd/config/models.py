"""The part of an app's config about its registered model: `[app.model]`."""

import re
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from deployd.config.values import Inside, Reference, Section, Size

_ALIAS = re.compile(r"[\w-]{1,255}")
_NAME = re.compile(r"[^/:\x00-\x1f\x7f]{1,255}")


def _registry(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError('expected the address of an MLflow server, such as "https://mlflow.example.com"')
    if parts.username is not None:
        raise ValueError("must not hold a user name or password; set username and password instead")
    return url.rstrip("/")


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None or text != text.strip():
        raise ValueError('expected the name of a registered model, such as "iris": without "/" and ":"')
    return text


def _alias(text: str) -> str:
    if _ALIAS.fullmatch(text) is None:
        raise ValueError('expected an alias of the registered model, such as "champion", without "@"')
    return text


def _directory(path: str) -> str:
    if path == ".":
        raise ValueError("expected a directory below the build context: what the commit has there is replaced")
    return path


class Model(Section):
    """`[app.model]`"""

    registry: Annotated[str, AfterValidator(_registry)]
    name: Annotated[str, AfterValidator(_name)]
    alias: Annotated[str, AfterValidator(_alias)]
    into: Annotated[Inside, AfterValidator(_directory)] = "model"
    username: str | None = None
    password: Reference | None = None
    token: Reference | None = None
    max_size: Annotated[Size, Field(gt=0)] = 1024**3

    @model_validator(mode="after")
    def _one_kind_of_login(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together")
        if self.token is not None and self.username is not None:
            raise ValueError("set either username and password, or token, not both")
        return self
