"""A forge's API that answers as no API does."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deployd.cli.forge_api import ForgeApi
from deployd.errors import Unavailable


class Page(BaseHTTPRequestHandler):
    """A page for people at every address; at /broken with an error, and a character that would change a terminal."""

    def do_GET(self) -> None:
        said = b"<html>Sign in \x1b[31m</html>"
        self.send_response(502 if self.path == "/broken" else 200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def page() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


def test_a_page_instead_of_an_answer_is_told_with_what_to_look_at(page: str) -> None:
    with ForgeApi("GitLab", page, {}, "acme/iris", "api") as api, pytest.raises(Unavailable) as failed:
        api.ask("GET", "/hooks")
    assert failed.value.message == f"GitLab at {page} did not answer GET /hooks with JSON"
    assert "api_url" in failed.value.hint


def test_text_from_a_forge_has_no_control_sequences(page: str) -> None:
    with ForgeApi("GitLab", page, {}, "acme/iris", "api") as api, pytest.raises(Unavailable) as failed:
        api.ask("GET", "/broken")
    assert "Sign in" in failed.value.hint
    assert "\x1b" not in failed.value.hint
