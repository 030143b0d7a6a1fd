"""The HTTP of a client: one request and its answer, or a stream, and what can go wrong with either.

Knows that a daemon answers JSON and problems, and that something else may answer in its place; nothing of the API's addresses.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from deployd.address import PUBLIC_URL, http_client, is_url, why_unreachable
from deployd.errors import RequestRefused, Unavailable

A = TypeVar("A", bound=BaseModel)

_TIMEOUT_SECONDS = 60.0


class DaemonAway(Unavailable):
    """The daemon itself cannot be reached."""


class Asking:
    """Asks the daemon at `url`. A refusal is a RequestRefused with the daemon's own words, all else is DaemonAway."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url.rstrip("/")
        if not is_url(self.url):
            raise DaemonAway(f"{url} is not a URL", hint=f"set DEPLOYD_URL, for example to {PUBLIC_URL}")
        headers = {b"Authorization": f"Bearer {token.strip()}".encode()} if token else {}
        with self._reaching():
            self._http = http_client(self.url, headers, _TIMEOUT_SECONDS)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def get(self, model: type[A], path: str, asked: Mapping[str, Any] | None = None) -> A:
        """Read something."""
        return self._read(model, await self.ask("GET", path, asked))

    async def post(self, model: type[A], path: str, body: Mapping[str, Any] | None = None) -> A:
        """Ask for something."""
        return self._read(model, await self.ask("POST", path, body=body or {}))

    async def ask(
        self, method: str, path: str, asked: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """Any request; the answer says that it was done."""
        with self._reaching():
            response = await self._http.request(method, path, params=asked, json=body)
        self._check(response)
        return response

    async def parts(self) -> Mapping[str, str]:
        """The answer of `/readyz`, whatever its status is."""
        with self._reaching():
            response = await self._http.get("/readyz")
        try:
            return {str(part): str(said) for part, said in response.json().items()}
        except (ValueError, AttributeError) as exc:
            raise self._stranger(response) from exc

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        kind: str,
        asked: Mapping[str, Any] | None = None,
        *,
        body: Mapping[str, Any] | None = None,
        silence: float | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """An answer of content type `kind`, to be read as it comes; `silence`: the longest pause in it, in seconds."""
        timeout = httpx.Timeout(_TIMEOUT_SECONDS, read=silence)
        with self._reaching():
            async with self._http.stream(method, path, params=asked, json=body, timeout=timeout) as response:
                if not response.is_success:
                    await response.aread()
                self._check(response)
                if _kind(response) != kind:
                    raise self._stranger(response)
                yield response

    def _read(self, model: type[A], response: httpx.Response) -> A:
        try:
            return model.model_validate_json(response.content)
        except ValidationError as exc:
            raise self._stranger(response) from exc

    def _check(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        try:
            said = response.json()
            detail, hint = str(said["detail"]), str(said.get("hint", ""))
        except (ValueError, KeyError, TypeError) as exc:
            raise self._stranger(response) from exc
        raise RequestRefused(response.status_code, detail, hint=hint)

    def _stranger(self, response: httpx.Response) -> DaemonAway:
        """The error for an answer that is not deployd's: a proxy's in front of it, or another server's."""
        status = f"{response.status_code} {response.reason_phrase}".rstrip()
        if response.is_server_error:
            what = f"deployd at {self.url} does not answer: {status}"
            return DaemonAway(
                what, hint="the proxy in front of it cannot reach it, or DEPLOYD_URL names another server"
            )
        goes = f" that leads to {response.headers['location']}" if response.has_redirect_location else ""
        what = (
            f"what answers at {self.url} is not deployd: {status}{goes}, {_kind(response) or 'without a content type'}"
        )
        return DaemonAway(what, hint="set DEPLOYD_URL to the address of deployd")

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """The one door for httpx's errors."""
        try:
            yield
        except httpx.TimeoutException as exc:
            raise DaemonAway(
                f"deployd at {self.url} did not answer within {_TIMEOUT_SECONDS:.0f} s",
                hint="systemctl status deployd.service shows its state",
            ) from exc
        except httpx.RequestError as exc:
            message, hint = why_unreachable(self.url, exc)
            raise DaemonAway(message, hint=hint) from exc
        except httpx.InvalidURL as exc:
            raise DaemonAway(
                f"{self.url} is not a URL: {exc}", hint=f"set DEPLOYD_URL, for example to {PUBLIC_URL}"
            ) from exc


def _kind(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()
