import asyncio
import hashlib
import inspect
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.http.flow_control import FlowControl

from deployd.http.protocol import LARGEST_HEAD, Protocol
from tests.http.wire import Client, answer, connected, hello, request, served


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with served(hello) as (_, found):
        yield found


async def test_a_request_is_answered_and_the_connection_stays_open(port: int) -> None:
    async with connected(port) as client:
        for size in (0, 5, 300_000):
            await client.send(request(b"x" * size))
            assert await client.answer() == (200, str(size).encode())


async def test_requests_sent_at_once_are_answered_in_turn(port: int) -> None:
    async with connected(port) as client:
        await client.send(request(b"a") + request(b"bb") + request(b"ccc")[:-1])
        assert [await client.answer() for _ in range(2)] == [(200, b"1"), (200, b"2")]
        await client.send(b"c")
        assert await client.answer() == (200, b"3")


async def test_a_connection_that_sends_nothing_is_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol, "head_within", 0.1)
    async with connected(port) as client:
        assert await client.ended() == b""


@pytest.mark.parametrize("first", [b"", request()], ids=["first request", "second request"])
async def test_headers_that_come_too_slowly_end_the_connection(
    port: int, monkeypatch: pytest.MonkeyPatch, first: bytes
) -> None:
    monkeypatch.setattr(Protocol, "head_within", 0.3)
    async with connected(port) as client:
        if first:
            await client.send(first)
            assert (await client.answer())[0] == 200
        dripping = asyncio.create_task(client.drip(b"POST / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 3000))
        assert (await client.answer())[0] == 408
        assert await client.ended() == b""
        dripping.cancel()


async def test_empty_lines_between_requests_do_not_keep_a_connection(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Protocol, "head_within", 0.3)
    async with connected(port) as client:
        await client.send(request())
        assert (await client.answer())[0] == 200
        dripping = asyncio.create_task(client.drip(b"\r\n" * 2000))
        await client.ended()
        dripping.cancel()


@pytest.mark.slow
async def test_a_body_that_comes_too_slowly_ends_the_connection(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol, "body_within", 0.3)
    async with connected(port) as client:
        dripping = asyncio.create_task(client.drip(request(b"x" * 2000)[:-1000], every=0.001))
        assert (await client.answer())[0] == 408
        assert await client.ended() == b""
        dripping.cancel()


@pytest.mark.slow
async def test_a_slow_application_does_not_end_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol, "body_within", 0.1)
    monkeypatch.setattr(Protocol, "head_within", 0.1)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.4)
        await hello(scope, receive, send)

    async with served(slow) as (_, port), connected(port) as client:
        await client.send(request(b"x" * 500_000))
        assert await client.answer() == (200, b"500000")


async def test_an_answer_after_the_connection_was_refused_is_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Protocol, "body_within", 0.1)
    cut_off, answered = asyncio.Event(), asyncio.Event()

    async def late(_scope: Scope, _receive: Receive, send: Send) -> None:
        await cut_off.wait()
        await answer(send, b"too late")
        answered.set()

    async with served(late) as (_, port), connected(port) as client:
        await client.send(request(b"x", announced=1000))
        assert (await client.answer())[0] == 408
        cut_off.set()
        await answered.wait()
        assert await client.ended() == b""
    assert caplog.records == []


async def test_headers_that_are_too_large_are_refused_in_one_part_or_many(port: int) -> None:
    huge = f"X: {'y' * LARGEST_HEAD}"
    async with connected(port) as client:
        await client.send(request(b"", huge))
        assert (await client.answer())[0] == 431
        assert await client.ended() == b""
    async with connected(port) as client:
        with suppress(ConnectionError):
            await client.send(b"POST / HTTP/1.1\r\nHost: x\r\n")
            for _ in range(100):
                await client.send(f"{huge[:2000]}\r\n".encode())
                await asyncio.sleep(0.001)
        assert (await client.answer())[0] == 431


@pytest.mark.parametrize(
    "bad",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 400,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"\x00" * 100,
    ],
)
async def test_a_request_that_is_not_http_is_refused_and_the_connection_ends(port: int, bad: bytes) -> None:
    async with connected(port) as client:
        await client.send(bad)
        status, body = await client.answer()
        assert (status, json.loads(body)["title"]) == (400, "Bad Request")
        assert json.loads(body)["hint"]
        assert await client.ended() == b""


async def send_for_ever(client: Client) -> None:
    while True:
        await client.send(b"x")
        await asyncio.sleep(0.02)


async def test_a_client_that_keeps_sending_after_a_refusal_is_reset(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol, "linger_for", 0.2)
    async with connected(port) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        assert (await client.answer())[0] == 400
        with pytest.raises(ConnectionError):
            await send_for_ever(client)


async def test_an_upgrade_to_websocket_is_not_taken(port: int) -> None:
    async with connected(port) as client:
        await client.send(request(b"", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: eA=="))
        assert (await client.answer())[0] == 200


async def test_the_head_of_a_stream_does_not_wait_for_its_body() -> None:
    more = asyncio.Event()

    async def stream(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await more.wait()
        await send({"type": "http.response.body", "body": b"late"})

    async with served(stream) as (_, port), connected(port) as client:
        await client.send(request())
        async with asyncio.timeout(20):
            assert b"content-length: 4" in await client.reader.readuntil(b"\r\n\r\n")
        more.set()
        async with asyncio.timeout(20):
            assert await client.reader.readexactly(4) == b"late"


async def test_an_answer_has_its_line_its_headers_and_its_body(port: int) -> None:
    async with connected(port) as client:
        await client.send(request(b"one"))
        found = await client.reader.readuntil(b"\r\n\r\n3")
        assert found == b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n3"


async def test_a_request_may_come_in_pieces(port: int) -> None:
    async with connected(port) as client:
        await client.drip(request(b"one two three"), every=0.001)
        assert await client.answer() == (200, b"13")


@pytest.mark.slow
async def test_each_request_of_a_connection_has_a_clock_of_its_own(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol, "head_within", 1.0)
    monkeypatch.setattr(Protocol, "body_within", 1.0)
    whole = request(b"one")
    async with connected(port) as client:
        for part in (10, len(whole) - 1) * 2:
            await client.send(whole[:part])
            await asyncio.sleep(0.6)
            await client.send(whole[part:])
            assert await client.answer() == (200, b"3")


@pytest.mark.parametrize(
    "bad",
    [b"\x00" * 100, b"POST / HTTP/1.1\r\nX: a\x00b\r\n\r\n", b"POST / HT"],
    ids=["no HTTP", "a malformed header", "half a head"],
)
@pytest.mark.slow
async def test_an_answer_is_finished_before_a_bad_next_request_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, bad: bytes
) -> None:
    monkeypatch.setattr(Protocol, "head_within", 0.1)
    go_on = asyncio.Event()

    async def waits(_scope: Scope, _receive: Receive, send: Send) -> None:
        await go_on.wait()
        await answer(send, b"done")

    async with served(waits) as (_, port), connected(port) as client:
        await client.send(request(b"one"))
        await client.send(bad)
        await asyncio.sleep(0.3)
        go_on.set()
        assert await client.answer() == (200, b"done")
        assert await client.ended() == b""


async def test_a_body_that_is_still_incomplete_after_its_answer_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Protocol, "body_within", 0.2)

    async def hasty(_scope: Scope, _receive: Receive, send: Send) -> None:
        await answer(send, b"enough")

    async with served(hasty) as (_, port), connected(port) as client:
        await client.send(request(b"x", announced=1000))
        assert await client.answer() == (200, b"enough")
        assert await client.ended() == b""


async def test_a_bug_ends_one_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "PUT":
            raise ZeroDivisionError
        await hello(scope, receive, send)

    async with served(broken) as (_, port):
        async with connected(port) as client:
            await client.send(request(b"one", method="PUT"))
            assert (await client.answer())[0] == 500
            assert await client.ended() == b""
        async with connected(port) as client:
            await client.send(request(b"one"))
            assert await client.answer() == (200, b"3")
    assert "ZeroDivisionError" in caplog.text


# What the server and the protocol override or rely on, with the SHA-256 of its source, shortened, in the locked uvicorn.
_PROTOCOL, _CYCLE, _FLOW = httptools_impl.HttpToolsProtocol, httptools_impl.RequestResponseCycle, FlowControl
RELIED_ON: list[tuple[Callable[..., Any], str]] = [
    (_PROTOCOL.__init__, "4f0899941034"),
    (_PROTOCOL.connection_made, "6efb565ff3d3"),
    (_PROTOCOL.connection_lost, "c91a4c9bf2e2"),
    (_PROTOCOL.data_received, "010a7ae59a5d"),
    (_PROTOCOL.on_headers_complete, "1ea8589acfad"),
    (_PROTOCOL.on_body, "dba9c32aeba3"),
    (_PROTOCOL.on_message_complete, "1fbad42dc31f"),
    (_PROTOCOL.on_response_complete, "64e254f28e38"),
    (_PROTOCOL.send_400_response, "ae5a4a3782b6"),
    (_PROTOCOL.shutdown, "d7351fa33f00"),
    (_CYCLE.run_asgi, "0f33f2449a44"),
    (_CYCLE.send, "abdd8601b326"),
    (_CYCLE.receive, "8124ae006be7"),
    (_FLOW.pause_reading, "7c27388bb984"),
    (_FLOW.resume_reading, "a0429d30857e"),
    (uvicorn.Server.__init__, "c150b55284f7"),
    (uvicorn.Server.serve, "112ef41af521"),
    (uvicorn.Server._serve, "4575b7a50adf"),
    (uvicorn.Server.startup, "2aa1d70a244b"),
    (uvicorn.Server.main_loop, "afccb353a119"),
    (uvicorn.Server.shutdown, "9b33c5056299"),
    (uvicorn.Server._wait_tasks_to_complete, "17209be1e991"),
    (uvicorn.Server.capture_signals, "e1bbcd4770d1"),
]


@pytest.mark.parametrize(("method", "fingerprint"), RELIED_ON, ids=lambda one: getattr(one, "__qualname__", ""))
def test_uvicorn_is_inside_as_it_was_when_the_protocol_was_written(
    method: Callable[..., Any], fingerprint: str
) -> None:
    now = hashlib.sha256(inspect.getsource(method).encode()).hexdigest()[:12]
    assert now == fingerprint, (
        f"{method.__qualname__} of uvicorn {uvicorn.__version__} has changed: read its new source beside "
        f"deployd/http/protocol.py and server.py, change those where they need it, then write {now} here"
    )
