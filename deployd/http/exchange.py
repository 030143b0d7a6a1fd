"""One small request and its answer, each in one piece: what uvicorn's cycle is for streams, for those who need none.

A delivery is a few kilobytes that mean something only when all of them are there. Taken like this it needs no scope, nothing to
receive, no two messages to send and no task of its own, which together cost more than all that is done with it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

_logger = logging.getLogger(__name__)

LARGEST = 64 * 1024

_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_NOT_PLAIN = frozenset({b"connection", b"expect", b"transfer-encoding", b"upgrade"})

Headers = Mapping[bytes, bytes]


class Answer(NamedTuple):
    """What goes back; `headers` are beside those of the body."""

    status: int
    body: bytes
    media_type: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()


class Later(NamedTuple):
    """An answer that `answer` gives when `until` is done, whatever came of that."""

    until: asyncio.Future[Any]
    answer: Callable[[], Answer]

    async def wait(self) -> Answer:
        """The answer; who is cancelled meanwhile leaves `until` alone."""
        await asyncio.wait([self.until])
        return self.answer()


class Taker(Protocol):
    """Takes requests that are complete."""

    def take(self, headers: Headers, body: bytes) -> Answer | Later:
        """Answer a POST, whatever the client sent; `headers` by their lower-case names."""
        ...

    def hung_up(self) -> None:
        """A client went away, or was sent away, before its body was complete."""
        ...


def plain(headers: Sequence[tuple[bytes, bytes]]) -> Headers | None:
    """The headers of a request that can be taken in one piece: none comes twice, and a small body is announced."""
    found = dict(headers)
    length = found.get(b"content-length", b"")
    if len(found) != len(headers) or not _NOT_PLAIN.isdisjoint(found) or not length.isdigit() or len(length) > 5:
        return None
    return found if int(length) <= LARGEST else None


class Exchange:
    """Stands in for uvicorn's cycle, and for the event by which that hears of its body.

    `end` is told, when the answer is written, whether the connection goes on.
    """

    def __init__(
        self, taker: Taker, headers: Headers, write: Callable[[bytes], None], end: Callable[[bool], None]
    ) -> None:
        self.body = bytearray()
        self.more_body = self.keep_alive = True
        self.disconnected = self.response_started = self.response_complete = False
        self._taker = taker
        self._headers = headers
        self._taken = False
        self._write = write
        self._end = end

    @property
    def message_event(self) -> "Exchange":
        """Itself; kept, it would be a cycle, which only the collector frees."""
        return self

    def set(self) -> None:
        """More of the body has come, or the client has gone."""
        if self._taken or (self.more_body and not self.disconnected):
            return
        self._taken = True
        if self.more_body:
            self._taker.hung_up()
        else:
            self._go_on(lambda: self._taker.take(self._headers, bytes(self.body)))

    def _go_on(self, step: Callable[[], Answer | Later]) -> None:
        try:
            answer = step()
        except Exception:
            _logger.exception("A bug while a request was taken")
            answer, self.keep_alive = Answer(500, b"Internal Server Error", b"text/plain; charset=utf-8"), False
        if isinstance(answer, Later):
            then = answer.answer
            answer.until.add_done_callback(lambda _: self._go_on(then))
        else:
            self._reply(answer)

    def _reply(self, answer: Answer) -> None:
        self.response_started = self.response_complete = True
        if not self.disconnected:
            self._write(self._bytes(answer))
        self._end(self.keep_alive)

    def _bytes(self, answer: Answer) -> bytes:
        head = b"%bcontent-type: %b\r\ncontent-length: %d\r\n" % (
            *(_LINES[answer.status], answer.media_type),
            len(answer.body),
        )
        more = answer.headers if self.keep_alive else (*answer.headers, (b"connection", b"close"))
        for name, value in more:
            head += b"%b: %b\r\n" % (name, value)
        return b"%b\r\n%b" % (head, answer.body)
