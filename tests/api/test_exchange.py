"""Requests that are taken in one piece, over the wire, and those that are left to the application."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from deployd.api.exchange import LARGEST, Answer, Headers, Later, plain
from deployd.api.server import Server, bind
from tests.api.test_server import Client, connected, hello, request


class Echo:
    """Answers with the body, at once or when it is told to."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[bytes] = asyncio.Queue()
        self.until: asyncio.Future[None] | None = None
        self.gone = asyncio.Event()

    def take(self, headers: Headers, body: bytes) -> Answer | Later:
        self.begun.put_nowait(body)

        def answer() -> Answer:
            if body == b"bug":
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
