"""One HTTP connection: uvicorn's own, with bounds on the head of a request in size and time, and errors as JSON.

uvicorn caps no header, starts no clock before a request's head is complete, and answers a malformed head with plain text.
Bodies are bounded where they are read (`front.py`). A request that arrives in one piece costs no timer and one comparison.
"""

import asyncio
import json
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from model_service.settings import Settings

LARGEST_HEAD = 64 * 1024
_PIECE = 16 * 1024  # what is fed to the parser at once: no head can pass unseen within one large piece
_LINGER_S = 2.0


class Watch:
    """The connections whose next head is awaited or incomplete: one timer for all, since when each is waited for."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._since: dict[Connection, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, connection: "Connection") -> None:
        """From now on, unless it is watched already."""
        loop = asyncio.get_running_loop()
        self._since.setdefault(connection, loop.time())
        if self._timer is None:
            self._timer = loop.call_later(max(0.05, self.seconds / 2), self._sweep)

    def end(self, connection: "Connection") -> None:
        """Its head is there, or it is gone."""
        self._since.pop(connection, None)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self.seconds
        for connection in [one for one, since in self._since.items() if since <= oldest]:
            self.end(connection)
            connection.too_late()
        self._timer = loop.call_later(max(0.05, self.seconds / 2), self._sweep) if self._since else None


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, bounded. `most` is what one request may take on the wire, with all its framing."""

    watch: ClassVar[Watch]
    most: ClassVar[int]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watched = True  # or refused: there is more to look at than the request that came
        self._refused = False
        self._size = 0
        self._sized: Any = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Wait for a head: a silent connection is as slow as one can be."""
        super().connection_made(transport)
        self.watch.begin(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more to wait for."""
        super().connection_lost(exc)
        self.watch.end(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then see whether the request is still incomplete."""
        if len(data) > _PIECE:
            for at in range(0, len(data), _PIECE):
                self.data_received(data[at : at + _PIECE])
        elif not self._refused:
            super().data_received(data)
            if self._watched or "method" not in self.scope or self.cycle.more_body:
                self._look(len(data))

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # as in uvicorn
        """What uvicorn calls when the parser gives up."""
        self._refuse(400, "malformed HTTP request")

    def too_late(self) -> None:
        """Called by the watch: what was waited for did not come."""
        self._watched = False
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        elif self._in_head() and self.scope is not None:
            self._refuse(408, f"the head of the request did not arrive within {self.watch.seconds:g} s")
        else:
            self.transport.close()

    def _in_head(self) -> bool:
        # uvicorn makes a scope at a request's first byte and fills in the method when its head is complete
        return self.scope is None or "method" not in self.scope

    def _look(self, size: int) -> None:
        """How far the request is that the last `size` bytes belong to."""
        if self._refused:
            return
        if self._sized is not self.scope:
            self._sized, self._size = self.scope, 0
        self._size += size
        in_head = self._in_head()
        if in_head and self._size > LARGEST_HEAD + _PIECE:  # the first piece may hold the end of an earlier request
            self._refuse(431, f"the head of the request is larger than {LARGEST_HEAD} bytes")
        elif not in_head and self._size > self.most:
            self._refuse(413, "the request is too large")
        elif in_head or (self.cycle.more_body and self.cycle.response_complete):
            self._watched = True
            self.watch.begin(self)
        else:  # complete, or a body that the application waits for
            self._watched = False
            self.watch.end(self)

    def _refuse(self, status: int, message: str) -> None:
        """Answers in the application's place, unless it is just answering, and hears no more."""
        self._refused = self._watched = True
        self.watch.end(self)
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            return
        content = json.dumps({"error": message}).encode()
        about = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(content)
        self.transport.write(STATUS_LINE[status] + about + content)
        # Closing while the caller still sends would reset the connection, and the reset overtake the answer.
        self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)


def bounded(settings: Settings) -> type[Connection]:
    """The protocol for one service."""

    class Bounded(Connection):
        watch = Watch(settings.body_timeout)
        most = 8 * settings.max_body + LARGEST_HEAD

    return Bounded
