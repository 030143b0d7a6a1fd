"""An answer that is written piece by piece, for as long as its source goes on.

It ends when its source ends, the client disconnects or the daemon stops. A client that reads nothing for half a minute is cut
off, so that a phone that is out of reach holds no place. The number of open streams is bounded.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployd.api.auth import caller_of
from deployd.api.services import Services
from deployd.errors import DeploydError, RequestRefused, Unavailable
from deployd.http.protocol import ABORT
from deployd.tasks import first

Write = Callable[[bytes], Awaitable[None]]
Produce = Callable[[Write], Awaitable[None]]

TEXT = "text/plain; charset=utf-8"
_HEADERS = {"Content-Security-Policy": "default-src 'none'", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_STILL_ALLOWED_SECONDS = 20.0


class _ReadsNothing(Exception):
    """The client has not read the written data in time."""


class Stream(Response):
    """A body that `produce` writes. The status is sent with the first bytes, so an earlier error gets its own answer."""

    reads_within = 30.0

    def __init__(self, services: Services, produce: Produce, media_type: str) -> None:
        super().__init__(media_type=media_type, headers=_HEADERS)
        del self.headers["content-length"]
        self._services = services
        self._produce = produce
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self._services.streams.counted():
                await first(self._write_all(send), _gone(receive), self._stopping(), self._refused(scope))
            await self._write(send, b"", more=False)
        except _ReadsNothing:
            scope["extensions"][ABORT]["abort"]()
            await _gone(receive)

    async def _write_all(self, send: Send) -> None:
        try:
            await self._produce(lambda data: self._write(send, data))
        except DeploydError as exc:
            if not self._begun:
                raise
            await self._write(send, f"\n-- incomplete: {exc} --\n".encode())

    async def _write(self, send: Send, data: bytes, *, more: bool = True) -> None:
        try:
            async with asyncio.timeout(self.reads_within):
                if not self._begun:
                    self._begun = True
                    await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                if data or not more:
                    await send({"type": "http.response.body", "body": data, "more_body": more})
        except TimeoutError as exc:
            raise _ReadsNothing from exc

    async def _refused(self, scope: Scope) -> None:
        """Wait until the reader loses access: their token was removed, or their login has ended."""
        while True:
            await asyncio.sleep(_STILL_ALLOWED_SECONDS)
            try:
                await caller_of(scope, self._services)
            except RequestRefused:
                return
            except Unavailable:
                continue  # the database cannot be read now

    async def _stopping(self) -> None:
        await self._services.stopping.wait()


async def copy(blocks: AsyncIterator[bytes], write: Write) -> None:
    """Write all blocks."""
    async for block in blocks:
        await write(block)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
