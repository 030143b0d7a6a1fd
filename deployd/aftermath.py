"""What comes after the switch: drain what served before, then prune what is too old.

It runs beside the next deploy of the app, which it leaves alone. What watches a release and what reports it come here too.
"""

from collections.abc import Mapping
from functools import partial

from deployd.config.app import App
from deployd.config.daemon import Retention
from deployd.domain import Deploy
from deployd.logs.log import DaemonLog
from deployd.logs.logs import Logs
from deployd.ports import Builder, InFlight, Log, Target
from deployd.recorder import Recorder
from deployd.store.store import Store


class Aftermath:
    """The stage behind the pipeline. `cache_limit` is in bytes."""

    def __init__(
        self, store: Store, logs: Logs, targets: Mapping[str, Target], builder: Builder, cache_limit: int
    ) -> None:
        self._store = store
        self._logs = logs
        self._targets = targets
        self._builder = builder
        self._cache_limit = cache_limit

    async def follow(self, app: App, deploy: Deploy, retention: Retention, in_flight: InFlight) -> None:
        """Clean up behind `deploy`, which is live. `in_flight` tells the number of the deploy that is under way meanwhile."""
        with self._logs.open(app.name, deploy.number) as log:
            recorder = Recorder(self._store, deploy, log)
            async with recorder.step("drain"):
                await self._leave_former_targets(app, deploy)
                await self._targets[app.target].sweep(app, deploy.number, log, in_flight)
            async with recorder.step("prune"):
                await self.prune(app, retention, log)

    async def prune(self, app: App, retention: Retention, log: Log | None = None) -> None:
        """Forget the app's images and logs past their limits; never an image that is live, previous or in flight."""
        kept = partial(self._store.kept, app.name)
        freed = {
            "images": await self._targets[app.target].prune(app, kept, retention.images, retention.image_bytes),
            "logs": await self._logs.prune(retention.logs, retention.log_bytes),
            "build cache": await self._builder.trim(self._cache_limit),
        }
        if said := ", ".join(f"{count / 1e6:.1f} MB of {what}" for what, count in freed.items() if count):
            (log or DaemonLog()).write(f"freed {said}\n")

    async def _leave_former_targets(self, app: App, deploy: Deploy) -> None:
        """An app whose `target` changed goes away from where its earlier releases ran; not from where its next one will."""
        before = {release.target for release in await self._store.released(app.name)}
        for name in (before - {deploy.target, app.target}) & self._targets.keys():
            await self._targets[name].remove(app.name)
