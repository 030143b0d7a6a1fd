"""Follow the engine's events: tell which app may have changed, and correct the gateway, which all apps share.

A burst of events causes one correction. A broken event stream is opened again, after growing pauses, as if everything had
changed, since events may have been missed. The gateway is also asked periodically.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from deployd.backoff import Backoff
from deployd.engine.client import EngineClient
from deployd.errors import DeploydError, Unavailable
from deployd.ports.target import Changed

logger = logging.getLogger(__name__)

_DELAYS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_ASK_EVERY_S = 30.0

# Not filtered by labels: the engine gives the events of a network none.
_FILTERS = {
    "type": ["container", "network"],
    "event": ["start", "die", "destroy", "pause", "unpause", "disconnect"],
}


class Watch:
    """Calls `correct` at the start, when the gateway's container or the network has changed, when `ask` (the gateway) raises
    Unavailable, and after `notify`. When it fails, calls it again after a pause."""

    def __init__(
        self,
        docker_url: str | None,
        instance: str,
        correct: Callable[[], Awaitable[None]],
        ask: Callable[[], Awaitable[None]],
    ) -> None:
        self._docker_url = docker_url
        self._correct = correct
        self._ask = ask
        self._instance = instance
        self._notified = asyncio.Event()
        self._notified.set()
        self._suspect = False  # something happened outside that every app may feel

    def notify(self) -> None:
        """Call `correct` soon: the gateway's settings have changed."""
        self._notified.set()

    def _happened(self) -> None:
        self._suspect = True
        self._notified.set()

    async def serve(self, changed: Changed) -> None:
        """Follow the events until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._correct_on_changes(changed))
            tasks.create_task(self._follow_events(changed))

    async def _correct_on_changes(self, changed: Changed) -> None:
        backoff = Backoff(_DELAYS)
        while True:
            await self._until_needed()
            self._notified.clear()
            try:
                await self._correct()
            except DeploydError as exc:
                hint = f" ({'; '.join(exc.hint.splitlines())})" if exc.hint else ""
                logger.warning("The state of the engine could not be corrected: %s%s", exc, hint)
                changed(None)
                await asyncio.sleep(backoff.fail())
                self._happened()
                continue
            backoff.reset()
            if self._suspect:
                self._suspect = False
                changed(None)

    async def _until_needed(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_ASK_EVERY_S):
                    await self._notified.wait()
                return
            try:
                await self._ask()
            except Unavailable:
                self._suspect = True
                return

    async def _follow_events(self, changed: Changed) -> None:
        backoff = Backoff(_DELAYS)
        while True:
            try:
                await self._follow(changed)
            except Unavailable as exc:
                logger.warning("The engine's events cannot be followed: %s", exc)
            else:
                backoff.reset()  # the stream was open for a while
            self._happened()
            await asyncio.sleep(backoff.fail())
            self._happened()

    async def _follow(self, changed: Changed) -> None:
        """Returns when the stream ends, as it does when the engine stops."""
        async with EngineClient(self._docker_url) as engine:
            async for line in engine.events(_FILTERS):
                labels = await self._labels(json.loads(line), engine)
                if labels.get("io.deployd.instance") != self._instance:
                    continue
                if (app := labels.get("io.deployd.app")) is not None:
                    changed(app)
                else:
                    self._happened()

    async def _labels(self, event: Mapping[str, Any], engine: EngineClient) -> Mapping[str, str]:
        """The labels of an event's object; for a container that has left a network, those of the container."""
        about: Mapping[str, str] = event.get("Actor", {}).get("Attributes", {})
        if event.get("Type") == "container":
            return about
        if "container" not in about:
            return {"io.deployd.instance": self._instance} if about.get("name") == f"deployd-{self._instance}" else {}
        found = await engine.containers.inspect(about["container"])
        return (found["Config"]["Labels"] or {}) if found is not None else {}  # another event tells of its removal
