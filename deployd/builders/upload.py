"""The build context that a build sends to the engine, as a tar in pieces."""

import asyncio
import io
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from types import AsyncGeneratorType
from typing import cast

from deployd.errors import DeploydError
from deployd.ports.source import Context


class Upload:
    """Sends a context. When reading it fails, aiohttp raises an error of its own; the original one is in `failure`."""

    def __init__(self, context: Context) -> None:
        self.failure: DeploydError | None = None
        self._context = context
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def pieces(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """The pieces of the tar. After the block, nothing reads from the context.

        aiohttp reads them in its own task. Closing its client cancels that task, which ends a little later.
        """
        pieces = self._pieces()
        try:
            yield pieces
        finally:
            if cast("AsyncGeneratorType[bytes, None]", pieces).ag_running:
                await self._ended.wait()
            await pieces.aclose()

    async def _pieces(self) -> AsyncGenerator[bytes]:
        tar = self._context.tar()
        try:
            async for piece in tar:
                yield piece
        except DeploydError as exc:
            self.failure = exc
            raise
        finally:
            try:
                if isinstance(tar, AsyncGenerator):
                    await tar.aclose()
            finally:
                self._ended.set()


def tar_of(dockerfile: str) -> bytes:
    """A context with only a Dockerfile."""
    content, packed, entry = dockerfile.encode(), io.BytesIO(), tarfile.TarInfo("Dockerfile")
    entry.size = len(content)
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
