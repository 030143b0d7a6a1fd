"""Clients that send requests without pause, and record which release answered and what failed.

There are two kinds, because a switch affects them differently: one keeps its connection, one opens a new one for each request.
"""

import asyncio
import time
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self
from urllib.parse import urlsplit

_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Call:
    """One request; `identify` reads from the body of the answer which release gave it."""

    method: str
    path: str
    body: bytes = b""
    identify: Callable[[bytes], str] = field(default=lambda body: body.decode())


@dataclass(slots=True)
class Answers:
    """The record of one client. `turns`: the releases that answered, with a new entry at each change."""

    sent: int = 0
    failures: list[str] = field(default_factory=list)
    turns: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)

    @property
    def went_back(self) -> bool:
        """Whether a release answered again after another one had."""
        return len(set(self.turns)) != len(self.turns)


class Load:
    """All clients of one address.

    `rest`: seconds that a client pauses after each request. Behind a Service, a thousand new connections a second use every
    local port again within half a minute, and a peer that still remembers the former connection of a port resets the new one.
    """

    def __init__(self, base_url: str, *, rest: float = 0.0) -> None:
        self._rest = rest
        parts = urlsplit(base_url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self.clients: list[Answers] = []
        self._stopped = asyncio.Event()
        self._goal = 0
        self._at_goal = asyncio.Event()
        self._at_goal.set()

    @property
    def sent(self) -> int:
        """The number of requests that were sent."""
        return sum(client.sent for client in self.clients)

    @property
    def failures(self) -> list[str]:
        """The failures of all clients."""
        return [failure for client in self.clients for failure in client.failures]

    def between(self, start: datetime, end: datetime) -> list[float]:
        """The latencies, in seconds, of the answers that came between two moments."""
        first, last = start.timestamp(), end.timestamp()
        return [
            latency
            for client in self.clients
            for latency in client.latencies[bisect_left(client.moments, first) : bisect_right(client.moments, last)]
        ]

    async def reached(self, count: int) -> None:
        """Wait until `count` requests were sent in all."""
        self._goal = count
        if self.sent < count:
            self._at_goal.clear()
        await self._at_goal.wait()

    async def all_asked_again(self) -> None:
        """Wait until each client has had an answer to a request that it sent from now on."""
        counts = [len(client.latencies) + 2 for client in self.clients]  # the next answer may be to an earlier request
        while any(len(client.latencies) < count for client, count in zip(self.clients, counts, strict=True)):
            await self.reached(self.sent + 1)

    @asynccontextmanager
    async def running(self, call: Call, *, kept: int = 2, fresh: int = 2) -> AsyncIterator["Load"]:
        """Send requests until the block ends: `kept` clients keep one connection, `fresh` clients open one for each request."""
        self._stopped = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for number in range(kept + fresh):
                answers = Answers()
                self.clients.append(answers)
                tasks.create_task(self._ask(call, answers, keep=number < kept))
            try:
                yield self
            finally:
                self._stopped.set()

    async def _ask(self, call: Call, answers: Answers, *, keep: bool) -> None:
        loop = asyncio.get_running_loop()
        request = self._request(call, keep=keep)
        async with _Connection(self._host, self._port) as connection:
            while not self._stopped.is_set():
                began = loop.time()
                answers.sent += 1
                try:
                    async with asyncio.timeout(_PATIENCE_S):
                        body, lasts = await _exchange(*await connection.opened(), request)
                    who = call.identify(body)
                except (OSError, EOFError, ValueError, KeyError, TimeoutError) as exc:
                    answers.failures.append(f"{type(exc).__name__}: {exc}")
                    await connection.close()
                    continue
                answers.latencies.append(loop.time() - began)
                answers.moments.append(time.time())
                if not self._at_goal.is_set() and self.sent >= self._goal:
                    self._at_goal.set()
                if not answers.turns or answers.turns[-1] != who:
                    answers.turns.append(who)
                if not (keep and lasts):
                    await connection.close()
                if self._rest:
                    await asyncio.sleep(self._rest)

    def _request(self, call: Call, *, keep: bool) -> bytes:
        head = (
            f"{call.method} {call.path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(call.body)}\r\n"
            f"Connection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        )
        return head.encode() + call.body


class _Connection:
    """The connection of one client: opened when it is needed, and closed at the end of the block, however it ends."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port)
        return self._streams

    async def close(self) -> None:
        if self._streams is None:
            return
        (_, writer), self._streams = self._streams, None
        writer.close()
        with suppress(OSError):  # the other side closed it first
            await writer.wait_closed()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[bytes, bool]:
    """Send one request; the body of the answer, and whether the connection stays open. ValueError unless it is a 200."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if headers.get("transfer-encoding") == "chunked":
        body = await _chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    if lines[0].split()[1] != "200":
        raise ValueError(f"{lines[0]}: {body[:100]!r}")
    return body, headers.get("connection", "").lower() != "close"


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()
    return body
