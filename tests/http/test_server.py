import asyncio
import json
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from deployd.api.webhooks import WebhookDoor
from deployd.errors import ConfigError
from deployd.http.bodies import Bodies
from deployd.http.exchange import Taker
from deployd.http.server import LARGEST_HEADERS, Protocol, Server, bind
from tests.deliveries import SECRET, a_push, an_app, headers_of, queued, raw_of

MAX_BODY = 1024 * 1024


async def hello(_scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, then answer with its size."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await answer(send, str(size).encode())


async def answer(send: Send, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def served(app: ASGIApp, takers: Mapping[str, Taker] | None = None) -> AsyncIterator[tuple[Server, int]]:
    """The application on a free port, and the server stopped at the end."""
    server, bound = Server(app, takers=takers, stop_within=5), bind("127.0.0.1", 0)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve([bound]))
        await server.listening.wait()
        try:
            yield server, bound.getsockname()[1]
        finally:
            server.stop()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with served(hello) as (_, found):
        yield found


@pytest.fixture(params=["in pieces", "in one piece"])
async def door(request: pytest.FixtureRequest) -> AsyncIterator[tuple[WebhookDoor, int]]:
    """A webhook door on a free port that takes every push."""

    deliveries = Counter("deliveries", "as in deployd.metrics", ["forge", "outcome"], registry=CollectorRegistry())
    found = WebhookDoor(
        *(lambda _, wanted: queued(wanted), deliveries),
        secrets=[SECRET.encode()],
        apps=[an_app()],
        max_body=MAX_BODY,
    )
    takers = {"/webhooks/github": found} if request.param == "in one piece" else None
    async with served(found, takers) as (_, at):
        yield found, at


class Client:
    """A connection on which every byte is of the test's choosing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def drip(self, data: bytes, every: float = 0.02) -> None:
        """One byte at a time, for as long as the other side takes them."""
        with suppress(ConnectionError):
            for byte in data:
                await self.send(bytes([byte]))
                await asyncio.sleep(every)

    async def answer(self) -> tuple[int, bytes]:
        """The next answer's status and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        return int(head.split(b" ", 2)[1]), await self.reader.readexactly(length)

    async def ended(self) -> bytes:
        """What still comes until the other side hangs up."""
        with suppress(ConnectionError):
            return await self.reader.read()
        return b""


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def send_for_ever(client: Client) -> None:
    while True:
        await client.send(b"x")
        await asyncio.sleep(0.02)


def request(body: bytes = b"", *headers: str, method: str = "POST", announced: int | None = None) -> bytes:
    size = len(body) if announced is None else announced
    lines = [f"{method} /webhooks/github HTTP/1.1", "Host: x", f"Content-Length: {size}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def genuine(body: bytes) -> list[str]:
    return [f"{name}: {value}" for name, value in headers_of(body).items()]


async def test_a_request_is_answered_and_the_connection_goes_on(port: int) -> None:
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


async def test_a_connection_that_says_nothing_is_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol, "headers_within", 0.1)
    async with connected(port) as client:
        assert await client.ended() == b""


@pytest.mark.parametrize("first", [b"", request()], ids=["first request", "second request"])
async def test_headers_that_drip_are_cut_off(port: int, monkeypatch: pytest.MonkeyPatch, first: bytes) -> None:
    monkeypatch.setattr(Protocol, "headers_within", 0.3)
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
    monkeypatch.setattr(Protocol, "headers_within", 0.3)
    async with connected(port) as client:
        await client.send(request())
        assert (await client.answer())[0] == 200
        dripping = asyncio.create_task(client.drip(b"\r\n" * 2000))
        await client.ended()
        dripping.cancel()


async def test_a_body_that_drips_is_cut_off_whatever_the_application_does(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Protocol, "body_within", 0.3)
    async with connected(port) as client:
        dripping = asyncio.create_task(client.drip(request(b"x" * 2000)[:-1000], every=0.001))
        assert (await client.answer())[0] == 408
        assert await client.ended() == b""
        dripping.cancel()


async def test_a_slow_application_is_not_held_against_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol, "body_within", 0.1)
    monkeypatch.setattr(Protocol, "headers_within", 0.1)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.4)
        await hello(scope, receive, send)

    async with served(slow) as (_, port), connected(port) as client:
        await client.send(request(b"x" * 500_000))
        assert await client.answer() == (200, b"500000")


async def test_an_answer_that_comes_after_the_last_word_goes_nowhere(
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


async def test_headers_that_are_too_large_are_refused_in_one_piece_or_many(port: int) -> None:
    huge = f"X: {'y' * LARGEST_HEADERS}"
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
async def test_what_is_not_http_is_a_bad_request_and_the_end(port: int, bad: bytes) -> None:
    async with connected(port) as client:
        await client.send(bad)
        status, body = await client.answer()
        assert (status, json.loads(body)["title"]) == (400, "Bad Request")
        assert json.loads(body)["hint"]
        assert await client.ended() == b""


async def test_who_keeps_sending_after_the_last_word_is_reset(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_a_genuine_push_is_taken_over_the_wire(door: tuple[WebhookDoor, int]) -> None:
    raw = raw_of(a_push())
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{door[1]}") as client:
        for _ in range(3):
            taken = await client.post("/webhooks/github", content=raw, headers=headers_of(raw))
            assert taken.status_code == 202
            assert set(taken.headers) == {"content-type", "content-length"}


async def test_a_signature_with_bytes_beyond_ascii_is_refused_over_the_wire(door: tuple[WebhookDoor, int]) -> None:
    async with connected(door[1]) as client:
        await client.send(request(b"", "Content-Type: application/json", "X-Hub-Signature-256: sha256=é"))
        assert (await client.answer())[0] == 401
        raw = raw_of(a_push())
        await client.send(request(raw, *genuine(raw)))
        assert (await client.answer())[0] == 202


async def test_a_body_announced_too_large_is_refused_unread(door: tuple[WebhookDoor, int]) -> None:
    async with connected(door[1]) as client:
        await client.send(request(b"", *genuine(b""), announced=MAX_BODY + 1))
        assert (await client.answer())[0] == 413
        assert await client.ended() == b""


async def test_a_client_that_sends_its_huge_body_all_the_same_sees_why_it_is_refused(
    door: tuple[WebhookDoor, int],
) -> None:
    body = b"x" * (20 * MAX_BODY)
    async with connected(door[1]) as client:
        await client.send(request(body, *genuine(b"")))
        assert (await client.answer())[0] == 413


async def test_chunks_that_sum_up_too_large_are_refused(door: tuple[WebhookDoor, int]) -> None:
    head = ["POST /webhooks/github HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", *genuine(b""), "", ""]
    async with connected(door[1]) as client:
        await client.send("\r\n".join(head).encode())
        with suppress(ConnectionError):
            for _ in range(MAX_BODY // 10_000 + 2):
                await client.send(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        assert (await client.answer())[0] == 413
        assert await client.ended() == b""


async def test_a_body_that_drips_is_answered_and_the_connection_closed(
    door: tuple[WebhookDoor, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Protocol, "body_within", 0.5)
    async with connected(door[1]) as client:
        await client.send(request(b"x" * 200_000, *genuine(b""), announced=300_000))
        dripping = asyncio.create_task(client.drip(b"x" * 9000))
        assert (await client.answer())[0] == 408
        assert await client.ended() == b""
        dripping.cancel()
    async with asyncio.timeout(20):
        while door[0]._bodies._held:  # noqa: ASYNC110 - nothing tells when a connection is lost
            await asyncio.sleep(0.01)


async def test_bodies_held_for_strangers_are_bounded(door: tuple[WebhookDoor, int]) -> None:
    door[0]._bodies = Bodies(most_held=MAX_BODY)
    async with connected(door[1]) as first, connected(door[1]) as second:
        await first.send(request(b"x" * (MAX_BODY - 1000), *genuine(b""), announced=MAX_BODY))
        while door[0]._bodies._held < MAX_BODY - 1000:  # noqa: ASYNC110 - nothing tells when bytes have arrived
            await asyncio.sleep(0.01)
        await second.send(request(b"x" * 200_000, *genuine(b"")))
        assert (await second.answer())[0] == 503
        raw = raw_of(a_push())
        async with connected(door[1]) as third:
            await third.send(request(raw, *genuine(raw)))
            assert (await third.answer())[0] == 202


async def test_a_client_that_waits_for_leave_to_send_gets_it(door: tuple[WebhookDoor, int]) -> None:
    raw = raw_of(a_push())
    async with connected(door[1]) as client:
        await client.send(request(b"", *genuine(raw), "Expect: 100-continue", announced=len(raw)))
        assert b"100 Continue" in await client.reader.readuntil(b"\r\n\r\n")
        await client.send(raw)
        assert (await client.answer())[0] == 202


async def test_stopping_finishes_what_is_in_flight_and_drops_idle_connections() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def waits(_scope: Scope, _receive: Receive, send: Send) -> None:
        begun.set()
        await go_on.wait()
        await answer(send, b"done")

    server, bound = Server(waits, stop_within=10), bind("127.0.0.1", 0)
    port = bound.getsockname()[1]
    serving = asyncio.create_task(server.serve([bound]))
    await server.listening.wait()
    async with connected(port) as idle, connected(port) as busy:
        await busy.send(request())
        await begun.wait()
        server.stop()
        assert await idle.ended() == b""
        with pytest.raises(ConnectionError):
            async with connected(port):
                pass
        go_on.set()
        assert await busy.answer() == (200, b"done")
        await serving


@pytest.mark.parametrize("early", [0, 10], ids=["nothing sent yet", "half a line sent"])
async def test_what_was_let_in_before_the_stop_is_answered(early: int) -> None:
    server, bound = Server(hello, stop_within=10), bind("127.0.0.1", 0)
    serving = asyncio.create_task(server.serve([bound]))
    await server.listening.wait()
    async with connected(bound.getsockname()[1]) as late:
        await late.send(request()[:early])
        while not server.server_state.connections:  # noqa: ASYNC110 - nothing tells when a connection is taken
            await asyncio.sleep(0.01)
        server.stop()
        await asyncio.sleep(0)
        await late.send(request()[early:])
        assert await late.answer() == (200, b"0")
        assert await late.ended() == b""
        await serving


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


async def test_signals_stay_with_their_owner() -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with served(hello) as (server, _):
        assert signal.getsignal(signal.SIGTERM) is before
        server.should_exit = True
        assert server.should_exit


def test_an_address_in_use_is_the_operators_to_mend() -> None:
    with bind("127.0.0.1", 0) as bound, pytest.raises(ConfigError, match=r"server\.port"):
        bind("127.0.0.1", bound.getsockname()[1])
