"""Follow the engine's events: whenever one of our containers starts or ends, the state of the gateway is corrected.

A burst of events causes one correction. A broken event stream is opened again, after growing pauses, followed by a correction,
since events may have been missed.
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
    """Calls `correct` at the start, after events and after `notify`. When it fails, calls it again after a pause."""

    def __init__(self, docker_url: str | None, instance: str, correct: Callable[[], Awaitable[None]]) -> None:
        self._docker_url = docker_url
        self._filters = {
            "label": [f"io.deployd.instance={instance}"],
            "type": ["container"],
            "event": ["start", "die", "destroy"],
        }
        self._correct = correct
        self._changed = asyncio.Event()
        self._changed.set()

    def notify(self) -> None:
        """Something has changed: `correct` is called soon."""
        self._changed.set()

    async def serve(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._correct_on_changes())
            tasks.create_task(self._follow_events())

    async def _correct_on_changes(self) -> None:
        backoff = Backoff(_DELAYS)
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._correct()
                backoff.reset()
            except DeploydError as exc:
                hint = f" ({'; '.join(exc.hint.splitlines())})" if exc.hint else ""
                logger.warning("The state of the engine could not be corrected: %s%s", exc, hint)
                await asyncio.sleep(backoff.fail())
                self._changed.set()

    async def _follow_events(self) -> None:
        backoff = Backoff(_DELAYS)
        while True:
            try:
                await self._follow()
            except Unavailable as exc:
                logger.warning("The engine's events cannot be followed: %s", exc)
            else:
                backoff.reset()  # the stream was open for a while
            await asyncio.sleep(backoff.fail())
            self.notify()

    async def _follow(self) -> None:
        """Returns when the stream ends, as it does when the engine stops."""
        async with EngineClient(self._docker_url) as engine:
            async for _ in engine.events(self._filters):
                self.notify()
