"""The lanes of all apps: one for each app of the config, from the reload that brings it to the one that takes it away.

Owns when a lane begins to serve and when it ends, and tells how the live releases in them are. Knows nothing of what a lane does
with a deploy, nor where deploys come from.
"""

import asyncio
import logging
from collections.abc import Mapping

from deployd.aftermath import Aftermath
from deployd.config.app import App
from deployd.config.running import Running
from deployd.domain import Deploy, Health
from deployd.lane import Lane
from deployd.pipeline import Pipeline
from deployd.ports.target import Target
from deployd.store.store import Store
from deployd.watch.stage import Watched

logger = logging.getLogger(__name__)


class Lanes:
    """Empty until `open`; what is asked of an app without a lane is answered as of one where nothing happens."""

    def __init__(
        self,
        running: Running,
        store: Store,
        pipeline: Pipeline,
        aftermath: Aftermath,
        targets: Mapping[str, Target],
    ) -> None:
        self._running = running
        self._store = store
        self._pipeline = pipeline
        self._aftermath = aftermath
        self._targets = targets
        self._lanes: dict[str, Lane] = {}
        self._serving: dict[str, asyncio.Task[None]] = {}

    def open(self, tasks: asyncio.TaskGroup) -> None:
        """Serve the lanes in `tasks`, so that they match the config from now on."""
        self._running.tell(lambda _: self._match(tasks))  # a reload before this point changes no lane
        self._match(tasks)

    def get(self, name: str) -> Lane | None:
        """The lane of an app of the config."""
        return self._lanes.get(name)

    def serving(self, name: str) -> asyncio.Task[None] | None:
        """What serves the lane of an app, or served it: one that is closed has its clean-up to do."""
        return self._serving.get(name)

    def submit(self, deploy: Deploy) -> None:
        """A new deploy is queued."""
        if (lane := self._lanes.get(deploy.app)) is not None:
            lane.submit(deploy)

    def health(self, name: str, number: int) -> Health | None:
        """How the live release `number` of an app was when it was last compared with what serves; None when it never was."""
        return lane.keeper.health(number) if (lane := self._lanes.get(name)) is not None else None

    def watched(self, name: str, number: int) -> Watched | None:
        """The watch of the live release `number` of an app, while it goes on."""
        found = lane.behind.watched if (lane := self._lanes.get(name)) is not None else None
        return found if found is not None and found.number == number else None

    def unhealthy(self) -> Mapping[str, Health]:
        """The apps whose live release is not `ok`, and how it is."""
        found = {name: lane.keeper.latest for name, lane in self._lanes.items()}
        return {name: health for name, health in found.items() if health is not None and health.state != "ok"}

    def changed(self, target: str, app: str | None) -> None:
        """Compare soon: the serving release of an app, or of any app of the target, may have changed."""
        for name in self._lanes if app is None else self._lanes.keys() & {app}:
            if self._lanes[name].app.target == target:
                self._lanes[name].behind.wake()
                self._lanes[name].keeper.wake()

    def _match(self, tasks: asyncio.TaskGroup) -> None:
        """Open and close lanes so that they match the config. An app that left the config keeps serving without a lane."""
        for name in self._lanes.keys() - {app.name for app in self._running.apps}:
            del self._lanes[name]
            self._serving[name].cancel()
            logger.info("App %s is no longer in the config: it keeps serving until `deployd remove %s`", name, name)
        for app in self._running.apps:
            if (lane := self._lanes.get(app.name)) is None:
                lane = self._lanes[app.name] = self._lane(app)
                before = self._serving.get(app.name)
                self._serving[app.name] = tasks.create_task(_serve_after(before, lane), name=f"lane {app.name}")
            lane.wake()

    def _lane(self, app: App) -> Lane:
        return Lane(
            app, self._running, self._store, self._pipeline, self._aftermath, lambda one: self._targets[one.target]
        )


async def _serve_after(before: asyncio.Task[None] | None, lane: Lane) -> None:
    """Serve a lane after an earlier lane of the same app has ended."""
    if before is not None:
        await asyncio.wait({before})
    await lane.serve()
