"""Clients that ask a port again and again, over one connection each or a new one each time, and what they were answered."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: when it was asked for and when it came, on the monotonic clock."""

    sent: float
    came: float
    body: str


@dataclass
class Load:
    """Runs as an async context manager. `failures` holds all that was no 200; `rest`: seconds between a client's requests."""

    port: int
    path: str = "/"
    keeping: int = 3
    renewing: int = 3
    rest: float = 0.02
    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _stop: bool = False
    _wanted: int = 0
    _enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        kinds = [True] * self.keeping + [False] * self.renewing
        self._tasks = [asyncio.create_task(self._client(keep=keep)) for keep in kinds]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def more(self, count: int) -> None:
        """Until `count` more answers have come."""
        self._wanted = len(self.answers) + count
        self._enough.clear()
        await self._enough.wait()

    def went_back(self, order: Sequence[str]) -> list[str]:
        """Answers from an earlier release than one that somebody had been answered from before they were asked for."""
        rank = {body: index for index, body in enumerate(order)}
        events = sorted(
            [(a.came, 0, a) for a in self.answers] + [(a.sent, 1, a) for a in self.answers], key=lambda e: e[:2]
        )
        newest = 0
        floor: dict[int, int] = {}
        for _, kind, answer in events:
            if kind == 1:
                floor[id(answer)] = newest
            else:
                newest = max(newest, rank[answer.body])
        late = [answer for answer in self.answers if rank[answer.body] < floor[id(answer)]]
        return [f"{answer.body} after {order[floor[id(answer)]]}" for answer in late]

    async def _client(self, *, keep: bool) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._stop:
            sent, closes = time.monotonic(), True
            try:
                if connection is None:
                    connection = await asyncio.open_connection("127.0.0.1", self.port)
                status, closes, body = await self._ask(*connection, keep=keep)
                self._note(sent, status, body)
            except (OSError, asyncio.IncompleteReadError) as exc:
                self.failures.append(repr(exc))
            if connection is not None and closes:
                connection[1].close()
                connection = None
            if self.rest:
                await asyncio.sleep(self.rest)
        if connection is not None:
            connection[1].close()

    def _note(self, sent: float, status: str, body: str) -> None:
        if status != "200":
            self.failures.append(f"{status} {body[:80]}")
            return
        self.answers.append(Answer(sent, time.monotonic(), body))
        if len(self.answers) >= self._wanted:
            self._enough.set()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keep: bool
    ) -> tuple[str, bool, str]:
        """Status, whether the connection is of no more use, body."""
        kept = "keep-alive" if keep else "close"
        writer.write(f"GET {self.path} HTTP/1.1\r\nHost: iris.example.com\r\nConnection: {kept}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        body = (await reader.readexactly(length)).decode()
        return head.split(" ")[1], not keep or "connection: close" in head, body
