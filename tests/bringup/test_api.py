import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployd.bringup.api import EngineApi
from deployd.errors import Unavailable

Answer = Callable[[str], bytes]


def http(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Answer], str]]:
    """Yields a function that starts a server on a Unix socket and returns its URL; it answers `answer(request line)`."""
    listener = socket.socket(socket.AF_UNIX)
    threads: list[threading.Thread] = []

    def start(answer: Answer) -> str:
        listener.bind(str(tmp_path / "engine.sock"))
        listener.listen()

        def loop() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    head = connection.recv(65536).decode(errors="replace").partition("\r\n")[0]
                    connection.sendall(answer(head))

        threads.append(threading.Thread(target=loop))
        threads[0].start()
        return f"unix://{tmp_path}/engine.sock"

    yield start
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in threads:
        thread.join()


def test_a_404_is_none(serve: Callable[[Answer], str]) -> None:
    url = serve(lambda _: http("404 Not Found", b'{"message":"no such image"}'))
    assert EngineApi(url).get("/images/none/json") is None
    assert EngineApi(url).delete("/images/none") is False


@pytest.mark.parametrize(("header", "podman"), [("Libpod-Api-Version: 5.8.6\r\n", True), ("", False)])
def test_podman_is_known_by_its_answer_to_a_ping(serve: Callable[[Answer], str], header: str, podman: bool) -> None:
    answer = f"HTTP/1.1 200 OK\r\n{header}Api-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK".encode()
    assert EngineApi(serve(lambda _: answer)).is_podman() is podman


def test_a_refusal_carries_the_message_of_the_engine(serve: Callable[[Answer], str]) -> None:
    url = serve(lambda _: http("409 Conflict", b'{"message":"the name is taken"}'))
    with pytest.raises(Unavailable, match="409: the name is taken"):
        EngineApi(url).post("/containers/create", {})


def test_a_refusal_before_the_whole_body_was_sent_is_read(serve: Callable[[Answer], str]) -> None:
    url = serve(lambda _: http("413 Too Large", b'{"message":"the context is too large"}'))
    with pytest.raises(Unavailable, match="413: the context is too large"):
        next(EngineApi(url).stream("/build", [bytes(1 << 20)] * 8))


def test_an_engine_that_closes_without_an_answer_is_unavailable(serve: Callable[[Answer], str]) -> None:
    url = serve(lambda _: b"")
    with pytest.raises(Unavailable, match="does not answer"):
        next(EngineApi(url).stream("/build", [bytes(1 << 20)] * 8))


def test_a_refusal_that_is_not_json_is_shown_as_it_is(serve: Callable[[Answer], str]) -> None:
    url = serve(lambda _: http("502 Bad Gateway", b"<html>upstream</html>"))
    with pytest.raises(Unavailable, match="502: <html>upstream"):
        EngineApi(url).get("/version")


@pytest.mark.parametrize("error", [{"error": "no space left"}, {"errorDetail": {"message": "no space left"}}])
def test_messages_come_one_by_one_until_an_error_among_them(
    serve: Callable[[Answer], str], error: dict[str, Any]
) -> None:
    lines: list[dict[str, Any]] = [{"stream": "Step 1"}, {"stream": "Step 2"}, error]
    url = serve(lambda _: http("200 OK", b"".join(json.dumps(line).encode() + b"\n" for line in lines)))
    came: list[str] = []
    with pytest.raises(Unavailable, match="no space left"):
        came.extend(message["stream"] for message in EngineApi(url).stream("/build"))
    messages = EngineApi(url).stream("/build")
    assert [next(messages)["stream"], next(messages)["stream"]] == ["Step 1", "Step 2"]


def test_a_missing_socket_is_unavailable(tmp_path: Path) -> None:
    api = EngineApi(f"unix://{tmp_path}/none.sock")
    assert not api.ping()
    with pytest.raises(Unavailable, match="does not answer"):
        api.get("/version")


def test_an_engine_that_does_not_answer_in_time_is_unavailable(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent.sock"))
        silent.listen()
        with pytest.raises(Unavailable, match="timed out"):
            EngineApi(f"unix://{tmp_path}/silent.sock", timeout=0.2).get("/version")


def test_an_ssh_address_is_refused_with_a_hint_at_the_forms_that_work() -> None:
    with pytest.raises(Unavailable) as refused:
        EngineApi("ssh://host.example.com").get("/version")
    assert "unix://" in refused.value.hint
