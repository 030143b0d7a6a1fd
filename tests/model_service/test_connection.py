"""The bounds on requests, tested over real sockets: an answer that leaves the server may still not reach the caller."""

import asyncio
import http.client
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import IO, Any, NoReturn
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from model_service.client import Client, PredictionFailed
from model_service.connection import bounded_protocol
from model_service.predictions import Receive, Scope, Send
from model_service.settings import Settings
from tests.model_service.process import Running, running

ROW = [5.8, 4.0, 1.2, 0.2]
REQUEST = json.dumps({"instances": [ROW]}).encode()
HEAD = b"POST /predict HTTP/1.1\r\nHost: model.example.com\r\n"
BODY = b"Content-Length: %d\r\n\r\n" % len(REQUEST) + REQUEST


@pytest.fixture(scope="module")
def strict(iris_dir: Path) -> Iterator[Running]:
    with running(iris_dir, "--max-body", "1000", "--body-timeout", "3") as service:
        yield service


def connect(service: Running) -> socket.socket:
    address = urlsplit(service.url)
    return socket.create_connection((address.hostname, address.port), timeout=30)


def read_answer(caller: socket.socket) -> tuple[int, Any]:
    """The status and the JSON of the only answer that is on its way."""
    with caller.makefile("rb") as answers:
        return read_next(answers)


def read_next(answers: IO[bytes]) -> tuple[int, Any]:
    """The status and the JSON of the next answer. Two that come together need one buffer."""
    status, headers = int(answers.readline().split()[1]), http.client.parse_headers(answers)
    assert headers["content-type"] == "application/json"
    return status, json.loads(answers.read(int(headers["content-length"])))


def send_slowly_for_ever(caller: socket.socket) -> NoReturn:
    while True:
        caller.sendall(b" ")
        time.sleep(0.05)


def chunked(body: bytes) -> bytes:
    chunks = [body[start : start + 500] for start in range(0, len(body), 500)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


@pytest.mark.slow
def test_a_caller_who_sends_far_too_much_gets_the_413(strict: Running) -> None:
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


@pytest.mark.slow
def test_a_body_without_a_length_has_the_same_limit(strict: Running) -> None:
    for body, status in ((REQUEST, 200), (b" " * 1001, 413), (b" " * 1_000_000, 413)):
        with connect(strict) as caller:
            caller.sendall(HEAD + chunked(body))
            assert read_answer(caller)[0] == status


@pytest.mark.slow
def test_a_caller_who_sends_far_too_many_chunks_before_reading_gets_the_413(strict: Running) -> None:
    with connect(strict) as caller:
        caller.sendall(HEAD + chunked(b" " * 20_000_000))
        status, content = read_answer(caller)
        assert status == 413
        assert "larger than 1000 bytes" in content["error"]


def test_a_connection_goes_on_after_a_body_that_was_read_and_found_too_large(strict: Running) -> None:
    with connect(strict) as caller:
        caller.sendall(HEAD + chunked(b" " * 1500))
        assert read_answer(caller)[0] == 413
        caller.sendall(HEAD + BODY)
        assert read_answer(caller)[0] == 200


def test_a_caller_who_waits_for_100_continue_gets_the_413_at_once(strict: Running) -> None:
    with connect(strict) as caller:
        caller.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
        assert read_answer(caller) == (413, {"error": "the body is larger than 1000 bytes"})


def test_a_head_that_is_too_large_gets_a_431(strict: Running) -> None:
    for size, status in ((60_000, 200), (100_000, 431), (3_000_000, 431)):
        with connect(strict) as caller:
            caller.sendall(HEAD + b"X-Filling: " + b"x" * size + b"\r\n" + BODY)
            assert read_answer(caller)[0] == status


@pytest.mark.slow
def test_the_end_of_a_large_body_does_not_count_as_part_of_the_next_head(iris_dir: Path) -> None:
    body = json.dumps({"instances": [ROW] * 5000}).encode()
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with running(iris_dir) as service, connect(service) as caller, caller.makefile("rb") as answers:
        caller.sendall(request * 2 + HEAD)
        assert [read_next(answers)[0] for _ in range(2)] == [200, 200]
        caller.sendall(BODY)
        assert read_next(answers)[0] == 200


@pytest.mark.parametrize(
    "sent",
    [b"POST /predict HT", HEAD, HEAD + b"X-Slow: ", HEAD + BODY[:-5], HEAD + chunked(REQUEST)[:-2]],
    ids=["request line", "head", "header", "body", "chunked body"],
)
@pytest.mark.slow
def test_a_request_that_does_not_arrive_in_time_gets_a_408(strict: Running, sent: bytes) -> None:
    with connect(strict) as caller:
        caller.sendall(sent)
        assert read_answer(caller) == (408, {"error": "the request did not arrive within 3 s"})
        assert caller.recv(1) == b""


@pytest.mark.slow
def test_a_silent_connection_is_closed(strict: Running) -> None:
    with connect(strict) as caller:
        assert caller.recv(1) == b""


@pytest.mark.slow
def test_a_malformed_request_gets_a_400_as_json(strict: Running) -> None:
    for sent in (
        b"nonsense\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    ):
        with connect(strict) as caller:
            caller.sendall(sent)
            assert read_answer(caller) == (400, {"error": "malformed HTTP request"})


@pytest.mark.slow
def test_a_request_is_answered_although_nonsense_follows_it(strict: Running) -> None:
    with connect(strict) as caller:
        caller.sendall(HEAD + BODY + b"nonsense\r\n\r\n")
        assert read_answer(caller)[0] == 200


@pytest.mark.slow
def test_endless_trailers_get_a_413(strict: Running) -> None:
    with connect(strict) as caller:
        caller.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X-Trailer: x\r\n" * 100_000)
        assert read_answer(caller)[0] == 413


@pytest.mark.slow
def test_a_connection_is_closed_when_the_body_of_an_answered_request_does_not_come(strict: Running) -> None:
    with connect(strict) as caller:
        caller.sendall(b"POST /version HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        assert read_answer(caller)[0] == 405
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_slowly_for_ever(caller)


@pytest.mark.slow
def test_a_connection_is_closed_when_only_line_ends_follow_an_answer(strict: Running) -> None:
    with connect(strict) as caller:
        caller.sendall(HEAD + BODY)
        assert read_answer(caller)[0] == 200
        caller.sendall(b"\r\n")
        assert caller.recv(1) == b""


@pytest.mark.slow
def test_refused_bodies_are_counted_with_their_route_and_keep_their_request_id(iris_dir: Path) -> None:
    with running(iris_dir, "--max-body", "1000", "--body-timeout", "0.2") as service:
        for sent, status in ((b"Content-Length: 1001\r\n\r\n", 413), (b"Content-Length: 9\r\n\r\n", 408)):
            with connect(service) as caller:
                caller.sendall(HEAD + b"X-Request-ID: abc-1\r\n" + sent)
                answer = http.client.HTTPResponse(caller)
                answer.begin()
                assert (answer.status, answer.getheader("x-request-id")) == (status, "abc-1")
        metrics = httpx.get(f"{service.url}/metrics").text
        for status in (413, 408):
            assert f'model_requests_total{{route="predict",status="{status}"}} 1.0' in metrics


class SlowApp:
    """An application that answers GET once `go` is set, and POST with the length of the body."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0
        if scope["method"] == "GET":
            await self.go.wait()
        else:
            while (message := await receive())["type"] == "http.request":
                size += len(message["body"])
                if not message["more_body"]:
                    break
            else:
                return
        content = b"%d" % size
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


@asynccontextmanager
async def connected(
    app: SlowApp, settings: Settings
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A caller of an application in this process, behind the bounds."""
    protocol = bounded_protocol(settings)
    config = uvicorn.Config(app, http=protocol, lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: protocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        yield reader, writer
        writer.close()
        await writer.wait_closed()


async def next_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The status and the content of the next answer."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    status = int(head.split()[1])
    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    return status, await reader.readexactly(length)


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
POST_TOO_LARGE = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n"


@pytest.mark.slow
async def test_a_pipelined_request_is_refused_after_the_answers_before_it() -> None:
    app = SlowApp()
    async with connected(app, Settings(max_body=100)) as (reader, writer):
        writer.write(GET + GET + POST_TOO_LARGE)
        await asyncio.sleep(0.1)
        app.go.set()
        assert [(await next_answer(reader))[0] for _ in range(3)] == [200, 200, 413]
        assert await reader.read() == b""


@pytest.mark.slow
async def test_a_late_pipelined_request_is_refused_after_the_answers_before_it() -> None:
    app = SlowApp()
    async with connected(app, Settings(body_timeout=0.1)) as (reader, writer):
        writer.write(GET + POST + b"1")
        await asyncio.sleep(0.3)
        app.go.set()
        assert [(await next_answer(reader))[0] for _ in range(2)] == [200, 408]
        assert await reader.read() == b""


@pytest.mark.slow
async def test_the_clock_of_a_pipelined_request_does_not_run_while_the_caller_waits_for_an_answer() -> None:
    app = SlowApp()
    async with connected(app, Settings(body_timeout=0.2)) as (reader, writer):
        writer.write(GET + POST + b"1")
        await asyncio.sleep(0.7)
        app.go.set()
        assert await next_answer(reader) == (200, b"0")
        writer.write(b"234")
        assert await next_answer(reader) == (200, b"4")


@pytest.mark.slow
async def test_a_connection_with_a_late_pipelined_head_is_closed_after_the_answers_before_it() -> None:
    app = SlowApp()
    async with connected(app, Settings(body_timeout=0.1)) as (reader, writer):
        writer.write(GET + b"POST / HT")
        await asyncio.sleep(0.3)
        app.go.set()
        assert (await next_answer(reader))[0] == 200
        assert await reader.read() == b""


@pytest.mark.slow
async def test_a_request_has_the_whole_time_even_if_the_connection_was_silent_before() -> None:
    async with connected(SlowApp(), Settings(body_timeout=1)) as (reader, writer):
        await asyncio.sleep(0.6)
        writer.write(POST)
        await asyncio.sleep(0.6)
        writer.write(b"1234")
        assert await next_answer(reader) == (200, b"4")


@pytest.mark.slow
async def test_every_request_on_a_connection_has_its_own_time() -> None:
    async with connected(SlowApp(), Settings(body_timeout=1)) as (reader, writer):
        for _ in range(3):
            writer.write(POST)
            await asyncio.sleep(0.5)
            writer.write(b"1234")
            assert await next_answer(reader) == (200, b"4")
