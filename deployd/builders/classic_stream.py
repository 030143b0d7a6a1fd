"""What goes to the engine's build endpoint and what comes from it: a tar in pieces, JSON lines.

Without aiodocker on purpose: it reads its tar on the loop, and takes a connection that breaks for the end of the answer.
"""

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import AsyncGeneratorType
from typing import Any, cast

from aiohttp import StreamReader

from deployd.errors import BuildFailed, DeploydError, Unavailable
from deployd.ports import Context

_LONGEST_MESSAGE = 4 * 1024 * 1024


class Upload:
    """The context on its way to the engine. aiohttp hides what went wrong in it behind an error of its own: see `failure`."""

    def __init__(self, context: Context) -> None:
        self.failure: DeploydError | None = None
        self._context = context
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def pieces(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """The tar, from the context as it comes; at an end of any kind nothing reads from the context any more.

        aiohttp reads it in a task of its own, which is cancelled when its client is closed, and ends a little later.
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
    """A context that is nothing but a Dockerfile."""
    content, packed, entry = dockerfile.encode(), io.BytesIO(), tarfile.TarInfo("Dockerfile")
    entry.size = len(content)
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


async def messages(content: StreamReader) -> AsyncIterator[Mapping[str, Any]]:
    """The engine's answer, message by message."""
    waiting = b""
    async for piece in content.iter_any():
        *lines, waiting = (waiting + piece).split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)
        if len(waiting) > _LONGEST_MESSAGE:
            raise Unavailable("the Docker Engine sends a message without end")


def refused(status: int, body: str) -> DeploydError:
    """The engine refuses the build before its first step, for a Dockerfile that does not parse for one."""
    try:
        text = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        text = body.strip()[:2000] or f"the Docker Engine answers {status}"
    return BuildFailed(text) if status < 500 else Unavailable(f"the Docker Engine cannot build: {text}")
