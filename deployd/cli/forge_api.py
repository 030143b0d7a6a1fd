"""One forge's REST API with a token, as far as `deployd hook` needs it. Its refusals and failures become ours, with a hint."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import httpx

from deployd.errors import RequestRefused, Unavailable
from deployd.logs.log import printable

_REFUSALS = frozenset({401, 403, 404})


class ForgeApi:
    """The API at `api_url` for one repository. Use as a context manager.

    `right` is what the token needs to be allowed to do.
    """

    def __init__(self, title: str, api_url: str, headers: Mapping[str, str], repository: str, right: str) -> None:
        self.url = api_url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, headers=dict(headers), timeout=30)
        self._title, self._repository, self._right = title, repository, right

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of the answer; None when it has none."""
        response = self.send(method, path, body)
        try:
            return response.json() if response.content else None
        except ValueError as exc:
            said = f"{self._title} at {self.url} did not answer {method} {path} with JSON"
            raise Unavailable(said, hint="api_url may lead to its pages, or to a proxy's") from exc

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        """The answer. RequestRefused when the token may not do that, Unavailable when it fails."""
        with self._reaching():
            response = self._http.request(method, path, json=body)
        if response.status_code in _REFUSALS:
            raise RequestRefused(
                response.status_code,
                f"{self._title} does not let this token manage the webhooks of {self._repository} ({response.status_code})",
                hint=f"it needs {self._right}",
            )
        if not response.is_success:
            said = f"{self._title} answered {response.status_code} to {method} {path}"
            raise Unavailable(said, hint=printable(response.text[:300]))
        return response

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as exc:
            raise Unavailable(f"{self._title} at {self.url} does not answer: {str(exc) or type(exc).__name__}") from exc
