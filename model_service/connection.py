"""One HTTP connection: uvicorn's protocol with bounds on the size of a request and on the time that it takes to arrive.

uvicorn bounds neither heads nor bodies, and answers a malformed request with plain text. Here one clock and one refusal serve
heads and bodies alike, so the application can read a body to its end. This relies on uvicorn's internals:
tests/model_service/test_uvicorn.py lists them, and fails when they change.
"""

import asyncio
import json
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from model_service.settings import Settings

LARGEST_HEAD = 64 * 1024
_PIECE = 16 * 1024  # bytes given to the parser at once, so that a large head is noticed before all of it is parsed
_LINGER_S = 2.0


class Clock:
    """Since when each connection owes us a request or the rest of one. One timer for all of them."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._since: dict[Connection, float] = {}  # the oldest first
        self._timer: asyncio.TimerHandle | None = None

    def start(self, connection: "Connection") -> None:
        """Count from now, unless this connection is being timed already."""
        if connection not in self._since:
            loop = asyncio.get_running_loop()
            self._since[connection] = loop.time()
            if self._timer is None:
                self._timer = loop.call_later(self.seconds, self._find_late)

    def stop(self, connection: "Connection") -> None:
        """The request is complete, or the connection is gone."""
        self._since.pop(connection, None)

    def _find_late(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() - self.seconds
        for connection in [one for one, since in self._since.items() if since <= due]:
            self.stop(connection)
            connection.on_late()
        oldest = next(iter(self._since.values()), None)
        self._timer = None if oldest is None else loop.call_at(oldest + self.seconds, self._find_late)


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with bounds. A request that arrives in one piece is neither counted nor timed."""

    clock: ClassVar[Clock]
    largest_body: ClassVar[int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._incomplete: Any = None  # the scope of the request that was incomplete when it was last looked at
        self._size = 0  # bytes of that request so far, framing included
        self._refused = False  # once this is set, nothing more is read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Wait for the first request."""
        super().connection_made(transport)
        self.clock.start(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        super().connection_lost(exc)
        self.clock.stop(self)

    def data_received(self, data: bytes) -> None:
        """Parse what has come; while the newest request is incomplete, count its bytes and its time."""
        if len(data) > _PIECE:
            for start in range(0, len(data), _PIECE):
                self.data_received(data[start : start + _PIECE])
        elif not self._refused:
            super().data_received(data)
            if self._in_head() or self.cycle.more_body or self.cycle.response_complete:
                self._wait_for_more(len(data))
            else:
                self.clock.stop(self)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # as in uvicorn
        """uvicorn calls this when the parser has given up."""
        self._refuse(400, "malformed HTTP request")

    def on_late(self) -> None:
        """The clock calls this when the caller has taken too long."""
        if self.flow.read_paused:  # the caller waits for us: uvicorn is still busy with an earlier request
            self.clock.start(self)
        elif self.scope is None or not (self._in_head() or self._is_unanswered()):
            self.transport.close()  # no request has begun, or the newest one was answered before its body came
        else:
            self._refuse(408, f"the request did not arrive within {self.clock.seconds:g} s")

    def _in_head(self) -> bool:
        """Whether the head of the newest request is incomplete (or there is no request yet)."""
        # uvicorn makes a new scope at the first byte of a request, and a cycle for it when the head is complete.
        return self.cycle is None or self.cycle.scope is not self.scope

    def _is_unanswered(self) -> bool:
        """Whether the newest request with a complete head has no answer yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_more(self, size: int) -> None:
        """`size` bytes have come and more must follow: start the clock, unless the request is too large already."""
        if self._refused:
            return
        if self._incomplete is not self.scope:  # a new request, with its own size and time
            self._incomplete, self._size = self.scope, 0
            self.clock.stop(self)
        self._size += size
        excess = self._find_excess()
        if excess is None:
            self.clock.start(self)
        else:
            self._refuse(*excess)

    def _find_excess(self) -> tuple[int, str] | None:
        """The status and message for the newest request if it is too large."""
        # One piece is allowed on top, since the first piece may hold the end of the request before.
        if self._in_head():
            if self._size > LARGEST_HEAD + _PIECE:
                return 431, f"the head of the request is larger than {LARGEST_HEAD} bytes"
        elif int(dict(self.headers).get(b"content-length", 0)) > self.largest_body:
            return 413, f"the body is larger than {self.largest_body} bytes"
        elif self._size > self.largest_body + LARGEST_HEAD + _PIECE:
            return 413, f"the body and the headers of its chunks are larger than {self.largest_body} bytes"
        return None

    def _refuse(self, status: int, message: str) -> None:
        """Read nothing more, and answer with an error once all earlier requests have their answers."""
        self.clock.stop(self)
        self._refused = True
        cycle = self.cycle
        if self._in_head():
            if self._is_unanswered():
                cycle.keep_alive = False  # uvicorn closes the connection after this earlier answer
            else:
                self._end(_error(status, message))
        elif not self._is_unanswered():
            self._end(b"")
        elif cycle.response_started or not cycle.more_body:
            cycle.keep_alive = False
        else:
            self._refuse_body(status, _error(status, message, dict(self.headers).get(b"x-request-id")))

    def _refuse_body(self, status: int, answer: bytes) -> None:
        """Answer in place of the application, which has been called or is going to be."""
        cycle = self.cycle
        cycle.scope["state"]["refused"] = status  # for the application, which sees only that the caller is gone
        cycle.disconnected = True
        cycle.message_event.set()
        if not self.pipeline:
            self._end(answer)
            return

        async def answer_in_turn(*_: Any) -> None:
            self._end(answer)

        self.pipeline[0] = (cycle, answer_in_turn)  # the newest of the requests that wait for earlier answers

    def _end(self, answer: bytes) -> None:
        """Send a last answer, and close the connection a little later."""
        # Closing at once, while the caller still sends, would reset the connection: the caller might not see the answer.
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.write_eof()
            self.flow.resume_reading()  # uvicorn may have paused it because of the size of the body
            self.loop.call_later(_LINGER_S, self.transport.close)


def _error(status: int, message: str, request_id: bytes | None = None) -> bytes:
    content = json.dumps({"error": message}).encode()
    headers = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(content)
    if request_id is not None:
        headers += b"x-request-id: %b\r\n" % request_id[:200]
    return STATUS_LINE[status] + headers + b"\r\n" + content


def bounded_protocol(settings: Settings) -> type[Connection]:
    """The protocol for one service."""

    class BoundedConnection(Connection):
        clock = Clock(settings.body_timeout)
        largest_body = settings.max_body

    return BoundedConnection
