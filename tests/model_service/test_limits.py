"""What a caller may send, spoken over real sockets: an answer that only leaves the server has not arrived."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest

from model_service.client import Client, PredictionFailed
from tests.model_service.process import Running, running

ROW = [5.8, 4.0, 1.2, 0.2]
QUESTION = json.dumps({"instances": [ROW]}).encode()
HEAD = b"POST /predict HTTP/1.1\r\nHost: model.example.com\r\n"


@pytest.fixture(scope="module")
def strict(iris_dir: Path) -> Iterator[Running]:
    with running(iris_dir, "--max-body", "1000", "--body-timeout", "1") as one:
        yield one


def called(service: Running) -> socket.socket:
    address = urlsplit(service.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def answered(caller: socket.socket) -> tuple[int, Any]:
    """The status and the JSON of the next answer."""
    answer = http.client.HTTPResponse(caller)
    answer.begin()
    assert answer.getheader("content-type") == "application/json"
    return answer.status, json.load(answer)


def drip(caller: socket.socket) -> NoReturn:
    """Sends as little as one can, for ever."""
    while True:
        caller.sendall(b" ")
        time.sleep(0.05)


def in_chunks(body: bytes) -> bytes:
    chunks = [body[at : at + 500] for at in range(0, len(body), 500)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


def test_a_caller_who_sends_far_too_much_hears_why(strict: Running) -> None:
    address = urlsplit(strict.url)
    for _ in range(3):
        with closing(http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)) as caller:
            caller.request("POST", "/predict", b" " * 20_000_000)
            answer = caller.getresponse()
            assert (answer.status, answer.getheader("connection")) == (413, "close")
            assert json.load(answer) == {"error": "the body is larger than 1000 bytes"}
    with pytest.raises(PredictionFailed, match="larger than 1000 bytes") as failed:
        Client(strict.url).predict([ROW] * 200_000)
    assert failed.value.status == 413


def test_a_body_without_a_length_is_held_to_the_same_limit_in_one_piece_or_many(strict: Running) -> None:
    for body, status in ((QUESTION, 200), (b" " * 1001, 413), (b" " * 1_000_000, 413)):
        with called(strict) as caller:
            caller.sendall(HEAD + in_chunks(body))
            assert answered(caller)[0] == status


def test_after_a_body_that_was_read_the_connection_goes_on_also_when_it_was_too_large(strict: Running) -> None:
    with called(strict) as caller:
        caller.sendall(HEAD + in_chunks(b" " * 1500))
        assert answered(caller)[0] == 413
        caller.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(QUESTION) + QUESTION)
        assert answered(caller)[0] == 200


def test_a_head_too_large_gets_a_431_in_one_piece_or_many(strict: Running) -> None:
    for size, status in ((60_000, 200), (100_000, 431), (3_000_000, 431)):
        with called(strict) as caller:
            filling = b"X-Filling: " + b"x" * size + b"\r\n"
            caller.sendall(HEAD + filling + b"Content-Length: %d\r\n\r\n" % len(QUESTION) + QUESTION)
            assert answered(caller)[0] == status


def test_the_last_of_a_large_body_does_not_count_for_the_next_head(iris_dir: Path) -> None:
    body = json.dumps({"instances": [ROW] * 5000}).encode()
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with running(iris_dir) as service, called(service) as caller:
        caller.sendall(request * 2 + HEAD)
        assert [answered(caller)[0] for _ in range(2)] == [200, 200]
        caller.sendall(b"Content-Length: %d\r\n\r\n" % len(QUESTION) + QUESTION)
        assert answered(caller)[0] == 200


@pytest.mark.parametrize("sent", [b"POST /predict HT", HEAD, HEAD + b"X-Slow: "])
def test_a_head_that_does_not_come_gets_a_408(strict: Running, sent: bytes) -> None:
    with called(strict) as caller:
        caller.sendall(sent)
        assert answered(caller) == (408, {"error": "the head of the request did not arrive within 1 s"})
        assert caller.recv(1) == b""


def test_a_connection_that_says_nothing_is_closed(strict: Running) -> None:
    with called(strict) as caller:
        assert caller.recv(1) == b""


def test_a_malformed_head_gets_a_400_in_the_same_shape(strict: Running) -> None:
    for sent in (b"nonsense\r\n\r\n", HEAD + b"Content-Length: -1\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n"):
        with called(strict) as caller:
            caller.sendall(sent)
            assert answered(caller) == (400, {"error": "malformed HTTP request"})


def test_nonsense_after_a_request_costs_it_nothing(strict: Running) -> None:
    with called(strict) as caller:
        caller.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(QUESTION) + QUESTION + b"nonsense\r\n\r\n")
        assert answered(caller)[0] == 200


def test_endless_trailers_are_cut_off(strict: Running) -> None:
    with called(strict) as caller:
        caller.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X-Trailer: x\r\n" * 100_000)
        assert answered(caller)[0] == 408


def test_a_body_that_nobody_reads_is_not_waited_for_without_end(strict: Running) -> None:
    with called(strict) as caller:
        caller.sendall(b"POST /version HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        assert answered(caller)[0] == 405
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            drip(caller)
