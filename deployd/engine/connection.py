"""The connection to a Docker Engine. Only this module and its siblings use aiodocker; its errors become ours here.

An engine that does not answer is Unavailable. A request that it refuses is Refused, which is also an Unavailable: trying again
may help, unless the caller knows from the status that it does not.
"""

import json
import re
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiodocker
from aiodocker.execs import Exec as Exec
from aiodocker.stream import Stream as Stream
from aiohttp import ClientError, ClientResponse, ClientTimeout

from deployd.engine import podman
from deployd.engine.endpoint import endpoint, given
from deployd.engine.stream import fault_in
from deployd.errors import Unavailable

ENDLESS = ClientTimeout(total=None, sock_connect=5)
"""For answers without a time limit."""

_TIMEOUT = ClientTimeout(total=120, sock_connect=5)
_NO_CONNECTION = 900  # aiodocker's own status when nothing answers at the socket
_LONGEST_MESSAGE = 2000
_GONE = re.compile(r"no (?:such container|container with (?:name or )?ID)", re.IGNORECASE)
_WHAT = "is it a Docker Engine that answers there?"
_FORBIDDEN = "let this account use Docker: usermod -aG docker USER"


class Refused(Unavailable):
    """The engine refused a request. `said`: its message; `status`: the HTTP status, or 0 in the middle of a stream."""

    def __init__(self, doing: str, said: str, status: int) -> None:
        super().__init__(f"{doing}: {said}")
        self.said = said
        self.status = status

    @property
    def gone(self) -> bool:
        """Whether it refused because the object in question does not exist. Podman answers 500 about some containers."""
        return self.status == 404 or bool(_GONE.search(self.said))


class Connection:
    """The engine at `url` (None: the one that the docker client would use). `client` is for calls that are more than one
    request and answer; use it inside `translated`. ConfigError when no engine can be found."""

    def __init__(self, url: str | None) -> None:
        self.endpoint = endpoint() if url is None else given(url)
        self.client = aiodocker.Docker(self.endpoint.url, timeout=_TIMEOUT, ssl_context=self.endpoint.tls)
        self._podman = False

    async def close(self) -> None:
        """Cancel all requests in progress."""
        await self.client.close()

    async def is_podman(self) -> bool:
        """Whether Podman answers in the place of a Docker Engine."""
        with translated("asking the engine"):
            await self._version()
        return self._podman

    async def ask(
        self,
        doing: str,
        path: str,
        method: str = "GET",
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout: ClientTimeout = _TIMEOUT,
    ) -> Any:
        """The engine's answer, parsed from JSON; None when it is empty. Every error message begins with `doing`."""
        data = json.dumps(body).encode() if body is not None else None
        async with self.open(doing, path, method, query=query, data=data, timeout=timeout) as answer:
            text = await answer.read()
        return json.loads(text) if text.strip() else None

    async def find(self, doing: str, path: str, method: str = "GET", *, timeout: ClientTimeout = _TIMEOUT) -> Any:
        """Like `ask`, but None when what is asked about does not exist."""
        with unless_gone():
            return await self.ask(doing, path, method, timeout=timeout)
        return None

    @asynccontextmanager
    async def open(
        self,
        doing: str,
        path: str,
        method: str = "GET",
        *,
        query: Mapping[str, str] | None = None,
        data: bytes | AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: ClientTimeout = _TIMEOUT,
    ) -> AsyncIterator[ClientResponse]:
        """Send a request. Read its answer inside the block; the connection is closed afterwards."""
        with translated(doing):
            url = f"{self.client.docker_host}/{await self._version()}/{path}"
            sent = {"Content-Type": "application/json"} | dict(headers or {})
            async with self.client.session.request(
                method, url, params=query, data=data, headers=sent, timeout=timeout
            ) as answer:
                if answer.status >= 400:
                    raise Refused(doing, _message(answer, await answer.text(errors="replace")), answer.status)
                yield answer

    async def _version(self) -> str:
        """The version of the engine's API, for the path. The engine is asked for it once."""
        if self.client.api_version == "auto":
            # Not /version, for which the engine starts two processes: 15 to 30 ms.
            async with self.client.session.get(f"{self.client.docker_host}/_ping") as answer:
                if answer.status >= 400:
                    raise Refused("asking the engine", _message(answer, await answer.text()), answer.status)
                if (version := answer.headers.get("Api-Version")) is None:
                    raise Unavailable("asking the engine: it does not say the version of its API", hint=_WHAT)
                self._podman = podman.HEADER in answer.headers
                self.client.api_version = f"v{version}"
        return self.client.api_version


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn the errors of aiodocker and aiohttp into ours."""
    try:
        yield
    except aiodocker.DockerError as exc:
        if exc.status == _NO_CONNECTION:
            raise Unavailable(f"{doing}: {exc.message}") from exc
        raise Refused(doing, exc.message, exc.status) from exc
    except TimeoutError as exc:
        raise Unavailable(f"{doing}: the engine does not answer in time") from exc
    except (ClientError, OSError) as exc:
        hint = _FORBIDDEN if "Permission denied" in str(exc) else ""
        why = str(exc).replace(" ssl:default", "") or type(exc).__name__
        raise Unavailable(f"{doing}: the engine does not answer: {why}", hint=hint) from exc


@contextmanager
def unless_gone() -> Iterator[None]:
    """Leave the block when what it asks about does not exist."""
    try:
        yield
    except Refused as refused:
        if not refused.gone:
            raise


def _message(answer: ClientResponse, text: str) -> str:
    try:
        said = json.loads(text)
    except ValueError:
        said = {}
    found = (said.get("message") or fault_in(said)) if isinstance(said, dict) else ""
    return str(found or text.strip()[:_LONGEST_MESSAGE] or f"the engine answers {answer.status}")
