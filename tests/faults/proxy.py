"""A socket before the engine's own, as the daemon under test sees it: it can refuse, hang, and cut what is under way.

The engine itself is never touched: it is shared.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_PIECE = 64 * 1024


class EngineProxy:
    """Passes everything on to the engine at `upstream` (a unix:// URL) for as long as it is let."""

    def __init__(self, path: Path, upstream: str) -> None:
        self._path = path
        self._upstream = upstream.removeprefix("unix://")
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def environment(self) -> dict[str, str]:
        """What leads a daemon here."""
        return {"DOCKER_HOST": f"unix://{self._path}"}

    @asynccontextmanager
    async def running(self) -> AsyncIterator["EngineProxy"]:
        """Passes on within the block."""
        await self.back()
        try:
            yield self
        finally:
            self.away()

    def away(self) -> None:
        """Nobody listens any more, and every connection is cut: what an engine that dies looks like."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink()
        for writer in self._writers:
            writer.transport.abort()

    async def back(self) -> None:
        """Listens, and passes everything on."""
        self._flowing.set()
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    def hang(self) -> None:
        """Takes connections, and lets not one byte through."""
        self._flowing.clear()

    def flow(self) -> None:
        """Lets through what has waited."""
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
