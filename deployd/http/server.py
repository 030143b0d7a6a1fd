"""The HTTP server: uvicorn, with its own signal handling taken out and deadlines put in; the only door to uvicorn.

uvicorn stops its keep-alive clock at the first byte of a request and starts no other, so that a client which drips one byte
a minute holds a connection for ever, and it caps no header. Here every request must have its headers complete within 10 s of
its first byte (the first of a connection: of connecting) and its body within 9 s more, or the connection ends.
"""

import asyncio
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from typing import Any, ClassVar

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from deployd.errors import ConfigError
from deployd.http.exchange import Exchange, Headers, Taker, plain
from deployd.http.front import Front
from deployd.http.problems import PROBLEM_JSON, problem

LARGEST_HEADERS = 64 * 1024

_HINTS = {
    400: "speak HTTP/1.1; where https is wanted, set tls in [server] or put a proxy in front",
    408: "send the request whole, and at once",
    431: "send fewer or smaller headers",
}


class Server(uvicorn.Server):
    """Serves one application; main() owns the process, its signals and its sockets."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        takers: Mapping[str, Taker] | None = None,
        stop_within: float = 30.0,
        keep_alive: float = 5.0,
        **tls: Any,
    ) -> None:
        """`takers` are handed the small requests to their paths, where `app` must answer all others just the same.

        `stop_within`: seconds that requests in flight get at the end. `tls` as uvicorn's `ssl_certfile`, `ssl_keyfile`.
        """
        by_url = {path.encode(): taker for path, taker in (takers or {}).items()}
        self._stop = asyncio.Event()
        super().__init__(
            uvicorn.Config(
                app,
                http=type("Protocol", (Protocol,), {"takers": by_url}),
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                log_level="error",
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=int(keep_alive),
                timeout_graceful_shutdown=max(1, round(stop_within)),
                **tls,
            )
        )
        self.listening = asyncio.Event()

    def stop(self) -> None:
        """Take no more connections, finish the requests in flight, then let `serve` return."""
        self._stop.set()

    @property
    def should_exit(self) -> bool:
        """uvicorn's own word for it; to set it is to call `stop`."""
        return self._stop.is_set()

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        if value:
            self.stop()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: a signal is main()'s."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Also sets `listening`, when connections are taken."""
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        """Wait for `stop`; uvicorn's own loop wakes ten times a second, and only to write a Date header."""
        await self._stop.wait()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket (port 0: any free one). ConfigError when the address is not to be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(2048)
        except OSError:
            bound.close()
            raise
    except OSError as exc:
        hint = "is another deployd running?"
        raise ConfigError(f"server.port: cannot listen on {host}:{port}: {exc.strerror}", hint=hint) from exc
    bound.setblocking(False)
    return bound


class _Phase(Enum):
    IDLE = auto()
    HEADERS = auto()
    BODY = auto()


class Protocol(HttpToolsProtocol):
    """One connection. A request that arrives in one piece costs no timer."""

    headers_within: ClassVar[float] = 10.0
    body_within: ClassVar[float] = 9.0  # GitHub waits for an answer for 10
    first_within: ClassVar[float] = 0.5
    linger_for: ClassVar[float] = 2.0
    takers: ClassVar[Mapping[bytes, Taker]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._phase = _Phase.IDLE
        self._timed: _Phase | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._head_size = 0
        self._real: asyncio.Transport | None = None
        self._lingering = False
        self._leaving = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Start the clock: a silent connection is as slow as one can be."""
        self._real = transport
        self._front = Front(self.loop, transport, self._close, self._is_closing)
        super().connection_made(self._front)  # type: ignore[arg-type]
        self._phase = _Phase.HEADERS
        self._time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        super().connection_lost(exc)
        self._cancel()

    def data_received(self, data: bytes) -> None:
        """Feed the parser, then see whether the request is still incomplete."""
        if self._lingering:
            return
        if self._phase is _Phase.IDLE:
            self._phase = _Phase.HEADERS
        if self._phase is _Phase.HEADERS:
            self._head_size += len(data)
        super().data_received(data)
        if self._lingering:
            return
        if self._phase is _Phase.HEADERS and self._head_size > LARGEST_HEADERS:
            self._refuse(431, f"the request's headers are larger than {LARGEST_HEADERS} bytes")
        elif self._phase is not self._timed:
            self._time()

    def shutdown(self) -> None:
        """Finish what is in flight; a connection that has not asked yet was let in as the stop came, and may ask once."""
        if self.cycle is not None or self._lingering:
            super().shutdown()
            return
        self._leaving = True
        if self._head_size == 0:
            self.loop.call_later(self.first_within, self._leave)

    def on_message_begin(self) -> None:
        """A request's first byte."""
        super().on_message_begin()
        self._unset_keepalive_if_required()  # one before it may have been answered while this data was parsed
        self._phase = _Phase.HEADERS

    def on_headers_complete(self) -> None:
        """Hand the request to the application, unless its headers came in one huge piece."""
        self._phase = _Phase.BODY
        if self.cycle is not None and self.transport.is_closing():
            return  # behind the last word
        if self._head_size > LARGEST_HEADERS and _size(self.headers) > LARGEST_HEADERS:
            self.app = _headers_too_large
        elif (taker := self.takers.get(self.url)) is not None and (headers := self._in_one_piece()) is not None:
            self._head_size = 0
            self.cycle = Exchange(taker, headers, self._front.write, self._exchanged)  # type: ignore[assignment]
            return
        self._head_size = 0
        super().on_headers_complete()
        if self._leaving and self.cycle is not None:
            self.cycle.keep_alive = False

    def _in_one_piece(self) -> Headers | None:
        """The headers of a request that an Exchange can take; everything unusual is uvicorn's."""
        idle = (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused
        usual = self.parser.get_method() == b"POST" and self.parser.get_http_version() == "1.1"
        return plain(self.headers) if idle and usual and not self._leaving else None

    def _exchanged(self, keep_alive: bool) -> None:
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_message_complete(self) -> None:
        """Nothing more is owed by the client; the next request has a clock of its own."""
        self._phase = _Phase.IDLE
        if self._timed is not _Phase.IDLE:
            self._timed = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer goes out whole."""
        self._front.flush()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls when the parser gives up."""
        self._refuse(400, msg)

    def _time(self) -> None:
        """Start the clock of the present phase, stop any other."""
        self._cancel()
        self._timed = self._phase
        if self._phase is _Phase.HEADERS:
            self._timer = self.loop.call_later(self.headers_within, self._overdue)
        elif self._phase is _Phase.BODY:
            self._timer = self.loop.call_later(self.body_within, self._overdue)

    def _leave(self) -> None:
        if self.cycle is None and self._head_size == 0:
            self.transport.close()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _overdue(self) -> None:
        if self.flow.read_paused:  # it is we who keep the client waiting
            self._time()
        else:
            self._refuse(408, "the request was not complete in time")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer in the application's place where no answer is under way, and hang up."""
        asked = self._head_size > 0 or self._phase is _Phase.BODY
        answering = self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        if asked and not answering:
            self.transport.write(_response(status, problem(status, detail, _HINTS[status])))
        self.transport.close()

    def _close(self) -> None:
        """Close for good, or stop only writing when the client still sends: a reset would overtake the answer."""
        transport = self._real
        if transport is None or self._lingering:
            return
        owed = self._phase is _Phase.BODY or self._head_size > 0
        self._front.flush()
        if not owed or transport.is_closing() or not transport.can_write_eof():
            transport.close()
            return
        self._lingering = True
        self._front.mute()
        self._cancel()
        transport.write_eof()
        self._timer = self.loop.call_later(self.linger_for, transport.abort)
        self.flow.resume_reading()

    def _is_closing(self) -> bool:
        return self._lingering or self._real is None or self._real.is_closing()


async def _headers_too_large(_scope: Scope, _receive: Receive, send: Send) -> None:
    body = problem(431, f"the request's headers are larger than {LARGEST_HEADERS} bytes", _HINTS[431])
    length = str(len(body)).encode()
    headers = [(b"content-type", PROBLEM_JSON), (b"content-length", length), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 431, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _response(status: int, body: bytes) -> bytes:
    head = b"HTTP/1.1 %d \r\ncontent-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (status, PROBLEM_JSON, len(body)) + body


def _size(headers: Sequence[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in headers)
