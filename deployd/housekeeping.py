"""Removal of apps that left the config, of images and logs beyond `[retention]`, and of old deliveries."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployd.aftermath import Aftermath
from deployd.config.running import Running
from deployd.errors import RequestRefused, Unavailable
from deployd.ports.target import Target
from deployd.pruning import Pruned
from deployd.store.store import Store

logger = logging.getLogger(__name__)

_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Housekeeping:
    """Removes apps and images on request, and old deliveries automatically."""

    running: Running
    store: Store
    aftermath: Aftermath
    targets: Mapping[str, Target]

    async def remove(self, name: str, lane: asyncio.Task[None] | None) -> None:
        """Remove an app that is no longer in the config from its targets, once its `lane` has ended, with a cut-over begun."""
        if self.running.app(name) is not None:
            hint = "delete it from the config, run `deployd reload`, then remove it"
            raise RequestRefused(409, f"{name} is still in the config", hint=hint)
        if name not in await self.store.known_apps():
            raise RequestRefused(404, f"there is no app {name}", hint="deployd status shows the apps")
        if lane is not None:
            await asyncio.wait({lane})
        for release in await self.store.released(name, 1):
            if release.target not in self.targets:
                what = f"{name} ran on {release.target}, and no app in the config uses that target now"
                app = f"an app with target = {release.target}"
                raise RequestRefused(409, what, hint=f"restart deployd with {app} in the config, then remove {name}")
        for target in self.targets.values():
            await target.remove(name)
        await self.aftermath.remove_images(name)
        await self.store.forget_app(name)

    async def prune(self, name: str | None, *, dry_run: bool) -> Sequence[Pruned]:
        """Remove what is beyond `[retention]` now, of one app or of all, or say what would go. Raises RequestRefused 404."""
        states = await self.store.states({*await self.store.known_apps(), *(app.name for app in self.running.apps)})
        if name is not None and name not in {state.app for state in states}:
            raise RequestRefused(404, f"there is no app {name}", hint="deployd status shows the apps")
        chosen = sorted(state.app for state in states if name in {None, state.app})
        removed = {state.app for state in states if self.running.app(state.app) is None and state.live is None}
        retention = self.running.config.retention
        kept = [app for app in chosen if app not in removed]
        return await self.aftermath.prune_apps(
            kept, [app for app in chosen if app in removed], retention, dry_run=dry_run
        )

    async def forget(self) -> None:
        """Once a day, delete deliveries older than the retention, and what was told of deploys then; if the database refuses, try
        again the next day. Runs until cancelled."""
        while True:
            kept = self.running.config.retention.deliveries
            try:
                gone = await self.store.forget_deliveries(kept)
                await self.store.forget_told(kept)
            except Unavailable as exc:
                logger.warning("Cannot delete old deliveries: %s (%s)", exc, exc.hint)
            else:
                if gone:
                    logger.info("Deleted %d old deliveries", gone)
            await asyncio.sleep(_DAY)
