"""What a caller may send, spoken over real sockets: an answer that only leaves the server has not arrived."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
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
