"""One HTTP connection: uvicorn's own protocol, with bounds on slow and large requests.

uvicorn stops its keep-alive clock at the first byte of a request and starts no other, so that a client which sends one byte
a minute holds a connection for ever, and it caps no header. Here the head of a request must be complete within 10 s of its
first byte, and its body within 9 s more. What breaks a bound is answered with a problem, and the connection ends. A request that
comes through a Unix socket carries who sent it.

Of uvicorn this overrides `connection_made`, `connection_lost`, `data_received`, `on_headers_complete`, `on_message_complete`,
`send_400_response` and `shutdown`, and it reads `cycle` and `flow`. tests/http/test_protocol.py fails when uvicorn's side of
these changes.
"""

import asyncio
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from deployd.http.local import PEER, user_of
from deployd.http.problems import PROBLEM_JSON, problem

LARGEST_HEAD = 64 * 1024
ABORT = "deployd.abort"  # the key in a scope's extensions: to end the connection without a word
_PIECE = 8 * 1024  # fed to the parser at once, so that a head is counted that arrives in one large piece

_HINTS = {
    400: "use HTTP/1.1; for https, set tls in [server] or put a proxy in front",
    408: "send the whole request without pauses",
    431: "send fewer or smaller headers",
}


class _Awaited(Enum):
    """What the connection waits for."""

    REQUEST = auto()  # nothing is owed; between requests uvicorn's keep-alive clock runs
    HEAD = auto()
    BODY = auto()


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, bounded in time and size."""

    head_within: ClassVar[float] = 10.0
    body_within: ClassVar[float] = 9.0  # GitHub waits 10 s for an answer
    first_within: ClassVar[float] = 0.5
    linger_for: ClassVar[float] = 2.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._awaited = _Awaited.REQUEST
        self._head_size = 0
        self._clock: asyncio.TimerHandle | None = None
        self._ending = False  # nothing that still comes is read
        self._stopping = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Wait for the first request."""
        self._connection = transport
        self._user = user_of(transport)
        super().connection_made(_Transport(transport, self))  # type: ignore[arg-type]
        self._wait(self.head_within)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        super().connection_lost(exc)
        self._stop_waiting()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and count what belongs to a head."""
        for at in range(0, len(data), _PIECE):
            if not self._ending:
                self._feed(data[at : at + _PIECE])

    def _feed(self, piece: bytes) -> None:
        if self._awaited is _Awaited.REQUEST:
            self._awaited, self._head_size = _Awaited.HEAD, 0
            self._wait(self.head_within)
        self._head_size += len(piece)
        super().data_received(piece)
        if self._awaited is _Awaited.HEAD and self._head_size > LARGEST_HEAD - _PIECE:
            self._refuse(431, f"the request's headers are larger than {LARGEST_HEAD} bytes")

    def on_headers_complete(self) -> None:
        """Hand the request to the application, and wait for the rest of it."""
        self._awaited = _Awaited.BODY
        self._wait(self.body_within)
        self.scope["extensions"] = {ABORT: {"abort": self._connection.abort}}
        if self._user is not None:
            self.scope["extensions"][PEER] = {"user": self._user}
        super().on_headers_complete()
        if self._stopping:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._awaited = _Awaited.REQUEST
        self._stop_waiting()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn when the parser fails."""
        self._refuse(400, msg)

    def shutdown(self) -> None:
        """Finish what is in flight. A connection that was let in just before the stop may still ask once."""
        if self._awaited is _Awaited.HEAD:
            self._stopping = True
        elif self._awaited is _Awaited.REQUEST and self.cycle is None:
            self._stopping = True
            self._wait(self.first_within)
        else:
            super().shutdown()

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._clock = self.loop.call_later(seconds, self._overdue)

    def _stop_waiting(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _overdue(self) -> None:
        if self._awaited is _Awaited.BODY and self.flow.read_paused:  # it is we who keep the client waiting
            self._wait(self.body_within)
        else:
            self._refuse(408, "the request was not complete in time")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer in the application's place, unless it has begun to, and hang up."""
        if self._awaited is not _Awaited.BODY and self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False  # an earlier request is still being answered: that answer is the last
            self._ending = True
            return
        answered = self._awaited is _Awaited.BODY and self.cycle.response_started
        if self._awaited is not _Awaited.REQUEST and not answered:
            self.transport.write(_answer(status, problem(status, detail, _HINTS[status])))
        self.transport.close()

    def hang_up(self) -> None:
        """Close at once, or after a moment where the client still sends: a reset would overtake the answer."""
        self._ending = True
        self._stop_waiting()
        if self._awaited is _Awaited.REQUEST or self._connection.is_closing():
            self._connection.close()
            return
        if self._connection.can_write_eof():
            self._connection.write_eof()
        self.flow.resume_reading()
        self._clock = self.loop.call_later(self.linger_for, self._connection.abort)


class _Transport:
    """The transport as uvicorn sees it: to close it is to hang up, and nothing is written after that."""

    def __init__(self, transport: asyncio.Transport, protocol: Protocol) -> None:
        self._transport = transport
        self._protocol = protocol
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._closed:
            self._transport.write(data)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._protocol.hang_up()

    def is_closing(self) -> bool:
        return self._closed or self._transport.is_closing()


def _answer(status: int, body: bytes) -> bytes:
    head = "HTTP/1.1 {} {}\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n"
    about = head.format(status, HTTPStatus(status).phrase, PROBLEM_JSON.decode(), len(body))
    return about.encode() + body
