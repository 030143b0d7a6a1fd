"""Everything that is wanted ends here, whoever wants it: a webhook, the poll, a person. One lane per app does the rest.

The scheduler owns the lanes and the head poll; a reload gives it a new config. It is the only place that cancels.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from deployd.config.app import App
from deployd.config.daemon import Config
from deployd.domain import Accepted, Delivery, Deploy, Status, Trigger, Wanted
from deployd.errors import ConfigError, RequestRefused, Unavailable
from deployd.heads import Heads
from deployd.lane import Lane
from deployd.pipeline import Pipeline
from deployd.plan import Plan, plan
from deployd.ports import Source, Target
from deployd.store.store import Store
from deployd.tasks import uninterrupted
from deployd.wanted import wanted_head

logger = logging.getLogger(__name__)

_DAY = 86400.0


class Scheduler:
    """Runs until cancelled; its methods may be called as soon as `serve` has begun."""

    def __init__(
        self, config: Config, store: Store, source: Source, pipeline: Pipeline, targets: Mapping[str, Target]
    ) -> None:
        self.config = config
        self._store = store
        self._source = source
        self._pipeline = pipeline
        self._targets = targets
        self._lanes: dict[str, Lane] = {}
        self._serving: dict[str, asyncio.Task[None]] = {}
        self.heads = Heads(store, source, self._ask)

    async def serve(self) -> None:
        """Bring every app to where it should be and keep it there."""
        await self._store.end_interrupted_steps()
        async with asyncio.TaskGroup() as self._tasks:
            self.reload(self.config)
            self._tasks.create_task(self.heads.watch(lambda: self.config.app, lambda: self.config.git.poll_every))
            self._tasks.create_task(self._forget())

    def reload(self, config: Config) -> None:
        """Use another config from the next deploy on. An app that is gone from it keeps serving, and takes no more.

        ConfigError, and nothing changed, when an app needs a target that was not there at the start.
        """
        for app in config.app:
            if app.target not in self._targets:
                raise ConfigError(f"app.{app.name}.target: {app.target} is new here", hint="restart deployd to load it")
        self.config = config
        for name in self._lanes.keys() - {app.name for app in config.app}:
            del self._lanes[name]
            self._serving[name].cancel()
            logger.info("App %s is gone from the config: it keeps serving until `deployd remove %s`", name, name)
        for app in config.app:
            if (lane := self._lanes.get(app.name)) is None:
                lane = self._lanes[app.name] = Lane(app, config, self._store, self._pipeline)
                before = self._serving.get(app.name)
                self._serving[app.name] = self._tasks.create_task(_serve_after(before, lane), name=f"lane {app.name}")
            lane.app, lane.config, lane.target = app, config, self._targets[app.target]
            lane.look()
        self.heads.wake()

    def accept(self, delivery: Delivery, wanted: Sequence[Wanted]) -> asyncio.Future[Accepted]:
        """Take what a delivery asks for; durable when the future has a result. Raises Unavailable there."""
        accepted = self._store.accept(delivery, wanted)
        accepted.add_done_callback(self._submit_new)
        return accepted

    async def deploy(self, name: str, commit: str | None, by: str | None) -> Deploy:
        """Deploy a commit, branch or tag by hand; None means the head of what the app watches."""
        app = self._app(name)
        if commit is None:
            if (found := wanted_head(await self._source.heads(app))) is None:
                raise RequestRefused(
                    409, f"the remote has no {app.ref}", hint="push it, or change the app's branch or tag"
                )
            ref, sha = found
        else:
            ref, sha = app.ref, await self._source.resolve(app, commit)
        deploy = await self._store.queue(Wanted(name, sha, ref, Trigger("manual", by=by)))
        self._submit(deploy)
        return deploy

    async def rollback(self, name: str, to: int | None, by: str | None) -> Deploy:
        """Go back to an earlier release (None: the one before), by its kept image."""
        self._app(name)
        state = await self._store.state(name)
        if to is None:
            if state.live is None:
                hint = f"deployd deploy {name} makes one"
                raise RequestRefused(409, f"{name} has no live release to go back from", hint=hint)
            goal = await self._store.previous(name, state.live.number)
        else:
            goal = await self._store.deploy(name, to)
        if goal is None or goal.live_at is None or goal.image is None:
            what = f"{name}/{to} never was live" if to is not None else f"{name} has no earlier release"
            raise RequestRefused(409, what, hint=f"deployd history {name} shows what there is")
        wanted = Wanted(
            name, goal.commit, goal.ref, Trigger("rollback", by=by), goal.subject, goal.author, rollback_to=goal.number
        )
        deploy = await self._store.queue(wanted)
        await self._store.record_image(deploy, goal.image)
        self._submit(deploy)
        return deploy

    async def cancel(self, name: str, number: int) -> Deploy:
        """Stop a deploy that waits or is in flight."""
        deploy = await self._store.deploy(name, number)
        if deploy is None:
            raise RequestRefused(404, f"there is no deploy {name}/{number}", hint=f"deployd history {name} shows them")
        lane = self._lanes.get(name)
        if lane is not None and lane.cancel(number):
            return deploy
        if deploy.status is Status.QUEUED:
            if deploy.trigger.kind in {"push", "poll"}:
                await self._store.see(name, deploy.commit)  # or the poll would ask for it again
            return await self._store.advance(deploy, Status.CANCELLED, reason="cancelled by hand")
        if not deploy.status.active:
            hint = f"only what waits or is on its way can be; deployd rollback {name} goes back from what is live"
            raise RequestRefused(409, f"{deploy.name} is {deploy.status} already", hint=hint)
        raise RequestRefused(409, f"{deploy.name} cannot be cancelled now", hint="try again in a moment")

    async def pause(self, name: str, *, paused: bool) -> None:
        """Let pushes wait, or take them up again: then the newest wins."""
        self._app(name)
        await self._store.pause(name, paused=paused)
        self._lanes[name].pause(paused=paused)

    async def remove(self, name: str) -> None:
        """Take an app that is gone from the config off its target."""
        if self.config.find(name) is not None:
            raise RequestRefused(
                409, f"{name} is still in the config", hint="take it out, `deployd reload`, then remove it"
            )
        if name not in await self._store.known_apps():
            raise RequestRefused(404, f"there is no app {name}", hint="deployd status shows the apps")
        if (lane := self._serving.get(name)) is not None:
            await asyncio.wait({lane})  # a cut-over that it had begun ends first
        await self._must_be_reached(name)
        for target in self._targets.values():
            await target.remove(name)
        await self._store.forget_app(name)

    async def _must_be_reached(self, name: str) -> None:
        """Where the app ran is a target of this daemon's, or nothing could be removed: only a pushed image has a digest."""
        for release in await self._store.released(name, 1):
            ran_on = "kubernetes" if release.image is not None and release.image.digest else "docker"
            if ran_on not in self._targets:
                hint = f"restart deployd with any app of target = {ran_on} in its config, then remove {name}"
                raise RequestRefused(
                    409, f"{name} ran on {ran_on}, which no app of this deployd does any more", hint=hint
                )

    def target_of(self, name: str) -> tuple[App, Target]:
        """An app and where it runs; RequestRefused 404."""
        app = self._app(name)
        return app, self._targets[app.target]

    async def plan(self, name: str, commit: str) -> Plan:
        """What deploying that commit, branch or tag would do. RequestRefused 404."""
        return await plan(self._app(name), commit, self._source, self._store, self._pipeline)

    async def _ask(self, wanted: Wanted) -> Deploy:
        """Queue what the poll found. A reload may stop the poll in mid-question: what is in the store, a lane knows of."""

        async def ask() -> Deploy:
            deploy = await self._store.queue_once(wanted)
            self._submit(deploy)
            return deploy

        return await uninterrupted(ask())

    def _submit_new(self, accepted: asyncio.Future[Accepted]) -> None:
        if not accepted.cancelled() and accepted.exception() is None:
            for deploy in accepted.result().new:
                self._submit(deploy)

    def _submit(self, deploy: Deploy) -> None:
        if (lane := self._lanes.get(deploy.app)) is not None:
            lane.submit(deploy)

    def _app(self, name: str) -> App:
        if (app := self.config.find(name)) is None:
            known = ", ".join(sorted(app.name for app in self.config.app)) or "none"
            raise RequestRefused(404, f"there is no app {name}", hint=f"configured apps: {known}")
        return app

    async def _forget(self) -> None:
        """Once a day, forget deliveries that are past their time; a database that refuses is asked again the day after."""
        while True:
            try:
                gone = await self._store.forget_deliveries(self.config.retention.deliveries)
            except Unavailable as exc:
                logger.warning("Cannot forget old deliveries: %s (%s)", exc, exc.hint)
            else:
                logger.info("Forgot %d old deliveries", gone)
            await asyncio.sleep(_DAY)


async def _serve_after(before: asyncio.Task[None] | None, lane: Lane) -> None:
    """Serve a lane, but not before an earlier lane of the same app has put its things away."""
    if before is not None:
        await asyncio.wait({before})
    await lane.serve()
