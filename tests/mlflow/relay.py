"""A way to the MLflow server that can be closed, so that a test need not stop the server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Relay:
    """Passes on what comes to its port, while it is open."""

    def __init__(self, port: int, to: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._host, self._to = to.removeprefix("http://").split(":")
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", self._port)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.close()
        await self._server.wait_closed()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection(self._host, int(self._to))
        self._open |= {writer, ours}
        await asyncio.gather(_copy(reader, ours), _copy(theirs, writer))
        self._open -= {writer, ours}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@asynccontextmanager
async def relay(port: int, to: str) -> AsyncIterator[Relay]:
    """One that is open at first."""
    made = Relay(port, to)
    await made.open()
    try:
        yield made
    finally:
        await made.close()
