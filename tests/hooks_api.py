"""The webhooks of one repository by the REST API of a forge, on loopback: a list at one path, and each webhook below it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HooksApi:
    """`hooks` by id. `knows` are the keys that an answer tells of, beside those of the webhook itself."""

    def __init__(self, path: str, auth: tuple[str, str], *, wrapped: bool) -> None:
        self.path, self.auth, self.wrapped = path, auth, wrapped
        self.hooks: dict[int, dict[str, Any]] = {}
        self.knows: dict[str, Any] = {}
        self.url = ""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        where = path.partition("?")[0]
        below = where.removeprefix(self.path).strip("/")
        match method, below.isdigit():
            case ("GET", False) if where == self.path:
                found = [{"id": number, **hook} for number, hook in self.hooks.items()]
                return 200, {"values": found} if self.wrapped else found
            case ("POST", False) if where == self.path:
                number = len(self.hooks) + 1
                self.hooks[number] = body
                return 201, {"id": number, **body, **self.knows}
            case ("PUT" | "PATCH", True) if int(below) in self.hooks:
                self.hooks[int(below)] |= body
                return 200, {"id": int(below), **self.hooks[int(below)], **self.knows}
            case _:
                return 404, {"message": "Not Found"}


@contextmanager
def hooks_api(path: str, auth: tuple[str, str], *, wrapped: bool = False) -> Iterator[HooksApi]:
    """Serve one for the length of the block; `auth` is the header by which it knows its user."""
    api = HooksApi(path, auth, wrapped=wrapped)

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            known = self.headers[api.auth[0]] == api.auth[1]
            status, said = api.answer(self.command, self.path, body) if known else (401, {})
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_PUT = _any  # noqa: N815 - the names of the base class

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        api.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield api
        finally:
            server.shutdown()
            serving.join()
