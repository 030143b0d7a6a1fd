"""The output of an app across its releases: when another release goes live, its output follows.

Knows the client and nothing of containers. The output of pods comes from all of them at once, so there the one stream is enough.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime

from deployd.api.states import AppAnswer
from deployd.client import Client
from deployd.errors import RequestRefused, Unavailable
from deployd.exits import expected_in
from deployd.following import Patience

Tell = Callable[[str], object]

_AGAIN_SECONDS = 1.0
_PATIENCE_SECONDS = 60.0


async def output_of_releases(
    client: Client, app: str, tail: int | None, since: datetime | None, tell: Tell
) -> AsyncGenerator[bytes]:
    """The output of the live release, and of each later one from its first line, until the caller stops. `tell` is told which
    release it is and what is waited for."""
    followed = _Followed(client, app, tell)
    work = asyncio.create_task(followed.run(tail, since))
    work.add_done_callback(lambda _: followed.blocks.put_nowait(None))
    try:
        while (block := await followed.blocks.get()) is not None:
            yield block
        await work
    finally:
        work.cancel()
        await asyncio.wait({work})


class _Followed:
    """Puts the output into `blocks`, and None at the end."""

    def __init__(self, client: Client, app: str, tell: Tell) -> None:
        self._client = client
        self._app = app
        self._tell = tell
        self._live: int | None = None
        self.blocks: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def run(self, tail: int | None, since: datetime | None) -> None:
        """Read the output until cancelled, or until the daemon is away for too long."""
        state = await self._client.app(self._app)
        self._live = state.live.number if state.live is not None else None
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read_first(tail, since))
                await self._watch(tasks)
        except BaseExceptionGroup as group:
            if (expected := expected_in(group)) is None:
                raise
            raise expected from None

    async def _watch(self, tasks: asyncio.TaskGroup) -> None:
        patience = Patience(_PATIENCE_SECONDS, lambda exc: self._tell(f"{exc}; waiting for it"))
        while True:
            try:
                async for _ in self._client.events(self._app):
                    patience.reset()
                    self._switch(await self._client.app(self._app), tasks)
            except Unavailable as exc:
                patience.spend(exc)
            await asyncio.sleep(_AGAIN_SECONDS)

    def _switch(self, state: AppAnswer, tasks: asyncio.TaskGroup) -> None:
        if state.live is None or state.live.number == self._live:
            return
        self._live = state.live.number
        self._tell(f"{self._app}/{self._live} is live now; its output follows")
        if state.target != "kubernetes":
            tasks.create_task(self._read_on(self._live, None))

    async def _read_first(self, tail: int | None, since: datetime | None) -> None:
        """Read the first output. Only here it is an error when nothing runs."""
        number = self._live
        await self._read_on(number, await self._read_once(tail, since))

    async def _read_on(self, number: int | None, since: datetime | None) -> None:
        """Read the output of one release for as long as it is live; a stream that ends, as at a restart, is opened again."""
        waiting = False
        while self._live == number:
            try:
                since, waiting = await self._read_once(None, since), False
            except RequestRefused as exc:
                if not waiting:
                    self._tell(f"{exc}; waiting for it")
                waiting = True
            except Unavailable:  # `_watch` says so, and ends this when it takes too long
                pass
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _read_once(self, tail: int | None, since: datetime | None) -> datetime:
        """Read until the stream ends; the moment from which the next one goes on."""
        async for block in self._client.app_log(self._app, follow=True, tail=tail, since=since):
            self.blocks.put_nowait(block)
        return datetime.now(UTC)
