"""Requests that are taken in one piece, over the wire, and those that are left to the application."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator

import pytest

from deployd.http.exchange import LARGEST, Answer, Exchange, Headers, Later, plain
from deployd.http.server import Protocol, Server, bind
from tests.http.test_server import Client, connected, hello, request


class Echo:
    """Answers with the body: at once; or, while it waits or when that begins with `late`, when it is told to go on."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[bytes] = asyncio.Queue()
        self.until: asyncio.Future[None] | None = None
        self.gone = asyncio.Event()

    def take(self, headers: Headers, body: bytes) -> Answer | Later:
        self.begun.put_nowait(body)
        if body.startswith(b"late") and self.until is None:
            self.wait()

        def answer() -> Answer:
            if body.endswith(b"bug"):
                raise ZeroDivisionError
            return Answer(202, b"took " + body, headers.get(b"content-type", b"text/plain"), ((b"x-more", b"yes"),))

        return answer() if self.until is None else Later(self.until, answer)

    def wait(self) -> None:
        """From now on, until told to go on."""
        self.until = asyncio.get_running_loop().create_future()

    def go_on(self) -> None:
        if self.until is not None:
            self.until.set_result(None)
            self.until = None

    def hung_up(self) -> None:
        self.gone.set()


class House:
    """A server with an Echo for the deliveries, in front of an application that counts bytes."""

    def __init__(self) -> None:
        self.echo = Echo()
        self.server = Server(hello, takers={"/webhooks/github": self.echo}, stop_within=10)
        self.bound = bind("127.0.0.1", 0)
        self.port: int = self.bound.getsockname()[1]

    @property
    def connection(self) -> Protocol:
        """The one that is open."""
        (only,) = self.server.server_state.connections
        assert isinstance(only, Protocol)
        return only


@pytest.fixture
async def house() -> AsyncIterator[House]:
    found = House()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(found.server.serve([found.bound]))
        await found.server.listening.wait()
        try:
            yield found
        finally:
            found.server.stop()


async def took(client: Client, body: bytes) -> None:
    assert await client.answer() == (202, b"took " + body)


async def test_a_small_request_is_taken_whole_and_the_connection_goes_on(house: House) -> None:
    async with connected(house.port) as client:
        for body in (b"one", b"", b"x" * LARGEST):
            await client.send(request(body))
            await took(client, body)


async def test_an_answer_has_its_line_its_headers_and_its_body(house: House) -> None:
    async with connected(house.port) as client:
        await client.send(request(b"one", "Content-Type: a/b"))
        lines = (await client.reader.readuntil(b"took one")).split(b"\r\n")
        assert lines == [
            b"HTTP/1.1 202 Accepted",
            b"content-type: a/b",
            b"content-length: 8",
            b"x-more: yes",
            b"",
            b"took one",
        ]


async def test_a_body_may_come_in_pieces(house: House) -> None:
    raw = request(b"one two three")
    async with connected(house.port) as client:
        await client.drip(raw, every=0.001)
        await took(client, b"one two three")


async def test_requests_sent_at_once_are_answered_in_their_order(house: House) -> None:
    house.echo.wait()
    async with connected(house.port) as client:
        await client.send(request(b"one") + request(b"two") + request(b"three", "Expect: something") + request(b"four"))
        assert await house.echo.begun.get() == b"one"
        house.echo.go_on()
        await took(client, b"one")
        assert await client.answer() == (200, b"3")
        assert await client.answer() == (200, b"5")
        assert await client.answer() == (200, b"4")
        await client.send(request(b"five"))
        await took(client, b"five")


@pytest.mark.parametrize(
    "raw",
    [
        request(b"x" * (LARGEST + 1)),
        request(b"one", method="PUT"),
        request(b"one", "X-Twice: 1", "X-Twice: 2"),
        request(b"one", "Connection: close"),
        request(b"one").replace(b"HTTP/1.1", b"HTTP/1.0"),
        request(b"one").replace(b"/webhooks/github", b"/webhooks/github?a=b"),
        request().replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"3\r\none\r\n0\r\n\r\n",
    ],
    ids=["large", "no POST", "a header twice", "the last", "of old", "a query", "chunked"],
)
async def test_what_is_unusual_is_the_applications(house: House, raw: bytes) -> None:
    async with connected(house.port) as client:
        await client.send(raw)
        assert (await client.answer())[0] == 200
        assert house.echo.begun.empty()


async def test_a_client_that_goes_before_its_body_is_whole_is_told_of(house: House) -> None:
    async with connected(house.port) as client:
        await client.send(request(b"one", announced=100))
    async with asyncio.timeout(20):
        await house.echo.gone.wait()
    assert house.echo.begun.empty()


async def test_what_was_taken_goes_on_without_its_client(house: House) -> None:
    house.echo.wait()
    async with connected(house.port) as client:
        await client.send(request(b"one"))
        await house.echo.begun.get()
    async with connected(house.port) as client:
        house.echo.go_on()
        await client.send(request(b"two"))
        await took(client, b"two")
    assert not house.echo.gone.is_set()


@pytest.mark.parametrize("late", [False, True], ids=["at once", "later"])
async def test_a_bug_ends_one_request_only(house: House, caplog: pytest.LogCaptureFixture, late: bool) -> None:
    async with connected(house.port) as client:
        if late:
            house.echo.wait()
        await client.send(request(b"bug"))
        assert await house.echo.begun.get() == b"bug"
        house.echo.go_on()
        assert (await client.answer())[0] == 500
        assert await client.ended() == b""
    assert "ZeroDivisionError" in caplog.text
    async with connected(house.port) as client:
        await client.send(request(b"one"))
        await took(client, b"one")


@pytest.mark.parametrize("late", [b"", b"late "], ids=["at once", "later"])
async def test_nothing_is_answered_behind_the_last_word(house: House, late: bytes) -> None:
    async with connected(house.port) as client:
        await client.send(request(late + b"bug") + request(b"two"))
        assert await house.echo.begun.get() == late + b"bug"
        house.echo.go_on()
        assert (await client.answer())[0] == 500
        assert await client.ended() == b""
    assert house.echo.begun.empty()


async def test_a_request_that_is_to_be_the_last_is_answered_behind_one_that_waited(house: House) -> None:
    async with connected(house.port) as client:
        await client.send(request(b"late") + request(b"two", "Connection: close"))
        await house.echo.begun.get()
        house.echo.go_on()
        await took(client, b"late")
        assert await client.answer() == (200, b"3")
        assert await client.ended() == b""


async def test_no_clock_of_an_idle_connection_runs_while_a_request_behind_an_answered_one_waits(house: House) -> None:
    async with connected(house.port) as client:
        await client.send(request(b"one") + request(b"late"))
        await took(client, b"one")
        assert [await house.echo.begun.get(), await house.echo.begun.get()] == [b"one", b"late"]
        assert house.connection.timeout_keep_alive_task is None
        house.echo.go_on()
        await took(client, b"late")


async def test_each_request_of_a_connection_has_a_clock_of_its_own(house: House) -> None:
    raw = request(b"one")
    async with connected(house.port) as client:
        await client.send(raw + raw[:-1])
        await took(client, b"one")
        clocks = {house.connection._timer}
        for _ in range(2):
            await client.send(raw[-1:] + raw[:-1])
            await took(client, b"one")
            clocks.add(house.connection._timer)
        assert len(clocks) == 3


async def test_who_does_not_read_answers_is_not_taken_from(house: House) -> None:
    async with connected(house.port) as client:
        await client.send(request(b"one"))
        await took(client, b"one")
        await house.echo.begun.get()
        house.connection.flow.pause_writing()
        await client.send(request(b"two"))
        while isinstance(house.connection.cycle, Exchange):  # noqa: ASYNC110 - it is the server's, and tells nobody
            await asyncio.sleep(0)
        house.connection.flow.resume_writing()
        assert await client.answer() == (200, b"3")
        assert house.echo.begun.empty()


async def test_what_was_answered_is_let_go_without_the_collector_of_cycles(house: House) -> None:
    gc.disable()
    try:
        async with connected(house.port) as client:
            await client.send(request(b"one"))
            await took(client, b"one")
            answered = weakref.ref(house.connection.cycle)
            await client.send(request(b"two"))
            await took(client, b"two")
            assert answered() is None
    finally:
        gc.enable()


async def test_stopping_finishes_what_was_taken_and_says_that_it_is_the_last() -> None:
    house = House()
    house.echo.wait()
    serving = asyncio.create_task(house.server.serve([house.bound]))
    await house.server.listening.wait()
    async with connected(house.port) as client:
        await client.send(request(b"one"))
        await house.echo.begun.get()
        house.server.stop()
        await asyncio.sleep(0)
        house.echo.go_on()
        assert (await client.ended()).endswith(b"connection: close\r\n\r\ntook one")
        await serving


def test_only_a_small_announced_body_is_plain() -> None:
    assert plain([(b"content-length", b"0")]) == {b"content-length": b"0"}
    for length in (b"", b"-1", b"+1", b" 1", b"65537", b"9" * 5000, "٣".encode()):
        assert plain([(b"content-length", length)]) is None
    assert plain([]) is None
