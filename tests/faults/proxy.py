"""A socket in front of the engine's own, for the daemon under test: it can refuse, hang, and cut connections.

The engine itself is never touched: it is shared.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_PIECE = 64 * 1024


class EngineProxy:
    """Forwards everything to the engine at `upstream` (a unix:// URL) until it is told otherwise."""

    def __init__(self, path: Path, upstream: str) -> None:
        self._path = path
        self._upstream = upstream.removeprefix("unix://")
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def environment(self) -> dict[str, str]:
        """The environment that makes a daemon use this socket."""
        return {"DOCKER_HOST": f"unix://{self._path}"}

    @asynccontextmanager
    async def running(self) -> AsyncIterator["EngineProxy"]:
        """Forward within the block."""
        await self.back()
        try:
            yield self
        finally:
            self.away()

    def away(self) -> None:
        """Stop listening and cut every connection, as when an engine dies."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink()
        for writer in self._writers:
            writer.transport.abort()

    async def back(self) -> None:
        """Listen, and forward everything."""
        self._flowing.set()
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    def hang(self) -> None:
        """Accept connections, and forward no byte."""
        self._flowing.clear()

    def flow(self) -> None:
        """Forward what has waited."""
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, engine = await asyncio.open_unix_connection(self._upstream)
        both = {writer, engine}
        self._writers |= both
        try:
            with suppress(ConnectionError):
                await asyncio.gather(self._pass(reader, engine), self._pass(there, writer))
        finally:
            self._writers -= both
            for one in both:
                one.close()

    async def _pass(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while piece := await source.read(_PIECE):
            await self._flowing.wait()
            to.write(piece)
            await to.drain()
        await self._flowing.wait()
        if to.can_write_eof():
            to.write_eof()
