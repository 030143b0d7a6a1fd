"""The engine's events about what is ours: whenever a container starts or dies, somebody looks whether all is well.

A burst of events is one look. An event stream that breaks is opened again, at a growing pace; what happened in between is
covered by looking once more.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from deployd.backoff import Backoff
from deployd.engine.client import EngineClient
from deployd.errors import DeploydError, Unavailable

logger = logging.getLogger(__name__)

_DELAYS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Watch:
    """Calls `settle` at first, after every event and when asked to; again, after a pause, when it fails."""

    def __init__(self, docker_url: str | None, instance: str, settle: Callable[[], Awaitable[None]]) -> None:
        self._docker_url = docker_url
        self._filters = {
            "label": [f"io.deployd.instance={instance}"],
            "type": ["container"],
            "event": ["start", "die", "destroy"],
        }
        self._settle = settle
        self._changed = asyncio.Event()
        self._changed.set()

    def look(self) -> None:
        """Something has changed."""
        self._changed.set()

    async def serve(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._settle_on_changes())
            tasks.create_task(self._follow_events())

    async def _settle_on_changes(self) -> None:
        backoff = Backoff(_DELAYS)
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._settle()
                backoff.reset()
            except DeploydError as exc:
                logger.warning("Not all is as it should be on the engine: %s", exc)
                await asyncio.sleep(backoff.fail())
                self._changed.set()

    async def _follow_events(self) -> None:
        backoff = Backoff(_DELAYS)
        while True:
            try:
                await self._follow()
            except Unavailable as exc:
                logger.warning("The engine cannot be watched: %s", exc)
            else:
                backoff.reset()  # it could be followed for a while
            await asyncio.sleep(backoff.fail())
            self.look()

    async def _follow(self) -> None:
        """Returns when the stream ends, as it does when the engine goes away."""
        async with EngineClient(self._docker_url) as engine:
            async for _ in engine.events(self._filters):
                self.look()
