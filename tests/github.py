"""A small GitHub on loopback: webhooks of one repository and their deliveries, as its REST API describes them."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = tuple[int, Any, dict[str, str]]


class GitHub:
    """`hooks` by id; `deliveries` newest first; `redelivered` ids; `asked` as (method, path, body)."""

    def __init__(self, token: str, repository: str, page: int = 2) -> None:
        self.token, self.repository, self.page = token, repository, page
        self.hooks: dict[int, dict[str, Any]] = {}
        self.deliveries: list[dict[str, Any]] = []
        self.redelivered: list[int] = []
        self.url = ""

    def answer(self, method: str, path: str, body: Any) -> Answer:
        where = urlsplit(path)
        match method, where.path.removeprefix(f"/repos/{self.repository}/hooks").strip("/").split("/"):
            case "GET", [""]:
                return 200, [{"id": number, **hook} for number, hook in self.hooks.items()], {}
            case "POST", [""]:
                assert body["name"] == "web"
                self.hooks[len(self.hooks) + 1] = body
                return 201, {"id": len(self.hooks), **body}, {}
            case "PATCH", [number]:
                self.hooks[int(number)] |= body
                return 200, {"id": int(number)}, {}
            case "GET", [_, "deliveries"]:
                return self._page(path, int(parse_qs(where.query).get("cursor", ["0"])[0]))
            case "POST", [_, "deliveries", delivery, "attempts"]:
                self.redelivered.append(int(delivery))
                return 202, {}, {}
            case _:
                return 404, {"message": "Not Found"}, {}

    def _page(self, path: str, start: int) -> Answer:
        end = start + self.page
        following = f'<https://elsewhere.example.com{path}&cursor={end}>; rel="next"'
        return 200, self.deliveries[start:end], {"Link": following} if end < len(self.deliveries) else {}


@contextmanager
def github(token: str, repository: str) -> Iterator[GitHub]:
    """Serve one for the length of the block."""
    hub = GitHub(token, repository)

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            known = self.headers["Authorization"] == f"Bearer {hub.token}"
            refused: Answer = (401, {"message": "Bad credentials"}, {})
            status, said, headers = hub.answer(self.command, self.path, body) if known else refused
            data = json.dumps(said).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = _any  # noqa: N815 - the names of the base class

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        hub.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield hub
        finally:
            server.shutdown()
            serving.join()
