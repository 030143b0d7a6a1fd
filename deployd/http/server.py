"""The HTTP server: uvicorn without its own signal handling, and the TCP socket that it listens on."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from deployd.errors import ConfigError
from deployd.http.protocol import Protocol


class Server(uvicorn.Server):
    """Serves one application; main() owns the process, its signals and its sockets."""

    def __init__(self, app: ASGIApp, *, stop_within: float = 30.0, keep_alive: float = 5.0, **tls: Any) -> None:
        """`stop_within`: seconds that requests in flight get at the end. `tls` as uvicorn's `ssl_certfile`, `ssl_keyfile`."""
        super().__init__(
            uvicorn.Config(
                app,
                http=Protocol,
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
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Take no more connections, finish the requests in flight, then let `serve` return."""
        self._stop.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do not handle signals: main() does."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Also sets `listening`, when connections are taken."""
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        """Wait for `stop`; uvicorn's own loop wakes ten times a second to look whether it should."""
        await self._stop.wait()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket (port 0: any free one). ConfigError when the address cannot be had."""
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
