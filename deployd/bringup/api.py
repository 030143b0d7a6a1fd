"""A small blocking client of the Docker Engine API, for use before there is an event loop or a docker command.

Knows sockets and JSON lines, nothing of images or containers. The daemon itself uses aiodocker.
"""

import json
import os
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deployd.engine import podman
from deployd.engine.endpoint import config_directory
from deployd.engine.stream import fault_in
from deployd.errors import Unavailable

_JSON = {"Content-Type": "application/json"}
_TAR = {"Content-Type": "application/x-tar"}


class EngineApi:
    """Sends requests to the engine at `url` (`unix:///path`, `tcp://host:port`); each waits `timeout` seconds for an answer."""

    def __init__(self, url: str, timeout: float = 30) -> None:
        self.url = url
        self._timeout = timeout

    def get(self, path: str) -> Any:
        """The JSON at `path`, or None when that does not exist; Unavailable for any other error."""
        with self._exchange("GET", path) as response:
            text = response.read()
            gone = response.status == 404 or (response.status == 500 and b"no such container" in text)  # Podman's
            return None if gone else json.loads(self._checked(response, text))

    def text(self, path: str) -> str:
        """The body at `path`, where it is not JSON."""
        with self._exchange("GET", path) as response:
            return self._checked(response, response.read()).decode(errors="replace")

    def ping(self) -> bool:
        """Whether the engine answers."""
        try:
            with self._exchange("GET", "/_ping") as response:
                return response.read() == b"OK"
        except Unavailable:
            return False

    def is_podman(self) -> bool:
        """Whether Podman answers in the place of a Docker Engine."""
        with self._exchange("GET", "/_ping") as response:
            return podman.HEADER in response.headers

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send `body` as JSON; the JSON of the answer, or None when it is empty."""
        sent = b"" if body is None else json.dumps(body).encode()
        with self._exchange("POST", path, sent, _JSON) as response:
            return json.loads(self._checked(response, response.read()).strip() or b"null")

    def delete(self, path: str) -> bool:
        """Remove an object; False when it was already gone."""
        with self._exchange("DELETE", path) as response:
            text = response.read()
            if response.status == 404:
                return False
            self._checked(response, text)
            return True

    def stream(
        self,
        path: str,
        body: bytes | Iterable[bytes] = b"",
        *,
        headers: Mapping[str, str] | None = None,
        silence: float = 120,
    ) -> Iterator[dict[str, Any]]:
        """POST `body` and yield the JSON messages of the answer. Unavailable when one of them is an error, or when none comes
        for `silence` seconds."""
        with self._exchange("POST", path, body, {**_TAR, **(headers or {})}, silence) as response:
            if response.status >= 400:
                self._checked(response, response.read())
            for line in response:
                message: dict[str, Any] = json.loads(line)
                if reason := fault_in(message):
                    raise Unavailable(reason)
                yield message

    def _checked(self, response: HTTPResponse, text: bytes) -> bytes:
        if response.status >= 400:
            try:
                reason = json.loads(text)["message"]
            except (ValueError, KeyError, TypeError):
                reason = text.decode(errors="replace")[:500] or response.reason
            raise Unavailable(f"the engine answers {response.status}: {reason}")
        return text

    @contextmanager
    def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] = b"",
        headers: Mapping[str, str] | None = None,
        silence: float | None = None,
    ) -> Iterator[HTTPResponse]:
        connection = _connection(self.url, self._timeout)
        try:
            connection.connect()
            # An engine that refuses the request before it has read all of it closes the connection; its answer can be read.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            if silence is not None and connection.sock is not None:
                connection.sock.settimeout(silence)
            yield response
        except (OSError, HTTPException) as exc:
            raise Unavailable(
                f"the Docker Engine at {self.url} does not answer: {str(exc) or type(exc).__name__}"
            ) from exc
        finally:
            connection.close()


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connection(url: str, timeout: float) -> HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return _UnixConnection(parts.path, timeout)
    if parts.scheme not in {"tcp", "http", "https"}:
        raise Unavailable(
            f"cannot connect to an engine at {url}", hint="DOCKER_HOST may be unix://, tcp://, http:// or https://"
        )
    if parts.scheme == "https" or os.environ.get("DOCKER_TLS_VERIFY"):
        return HTTPSConnection(parts.hostname or "", parts.port or 2376, timeout=timeout, context=_tls())
    return HTTPConnection(parts.hostname or "", parts.port or 2375, timeout=timeout)


def _tls() -> ssl.SSLContext:
    keys = Path(os.environ.get("DOCKER_CERT_PATH") or config_directory())
    authority = keys / "ca.pem"
    context = ssl.create_default_context(cafile=str(authority) if authority.exists() else None)
    if (keys / "cert.pem").exists():
        context.load_cert_chain(keys / "cert.pem", keys / "key.pem")
    return context
