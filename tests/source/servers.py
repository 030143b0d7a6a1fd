"""A git server on loopback that can fail in several ways: `git http-backend` behind a small HTTP server."""

import base64
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar


@dataclass
class Behaviour:
    """How the server behaves. `before` is called with the number of each request (from 1) before it is answered."""

    password: str | None = None
    moved_to: str | None = None
    status: int | None = None
    truncate: bool = False
    hang: bool = False
    old_protocol: bool = False
    before: Callable[[int], None] = lambda _: None
    seen: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)


@contextmanager
def a_git_server(root: Path, behaviour: Behaviour | None = None) -> Iterator[str]:
    """Serve the repositories below `root`; yields the base URL."""
    given = behaviour or Behaviour()

    class Handler(_Handler):
        behaviour: ClassVar[Behaviour] = given
        directory: ClassVar[Path] = root

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        given.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    behaviour: ClassVar[Behaviour]
    directory: ClassVar[Path]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        pass

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        behaviour = self.behaviour
        body = self._body()
        behaviour.seen.append(f"{self.command} {self.path}")
        behaviour.authorizations.append(self.headers.get("Authorization"))
        behaviour.before(len(behaviour.seen))
        if behaviour.hang:
            behaviour.released.wait(60)
        elif behaviour.moved_to is not None:
            self._empty(301, Location=f"{behaviour.moved_to}{self.path}")
        elif behaviour.status is not None:
            self._empty(behaviour.status)
        elif behaviour.password is not None and self._password() != behaviour.password:
            self._empty(401, **{"WWW-Authenticate": 'Basic realm="git"'})
        else:
            self._backend(body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            whole = b""
            while size := int(self.rfile.readline(), 16):
                whole += self.rfile.read(size)
                self.rfile.readline()
            return whole
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _password(self) -> str:
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        return base64.b64decode(given).decode().partition(":")[2]

    def _empty(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _backend(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "GIT_PROJECT_ROOT": str(self.directory),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }
        if not self.behaviour.old_protocol:
            environment["GIT_PROTOCOL"] = self.headers.get("Git-Protocol", "")
        done = subprocess.run(["git", "http-backend"], input=body, stdout=subprocess.PIPE, env=environment, check=False)
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        cut = self.behaviour.truncate and b"packfile" in answer
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(answer[: len(answer) // 2] if cut else answer)
        self.close_connection = True
