"""Takes every request to deploy, from a look at a remote or from a person, and passes it to the lane of its app.

The scheduler owns the lanes and the looks.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from deployd.aftermath import Aftermath
from deployd.config.app import App
from deployd.config.digest import made_with, release_digest
from deployd.config.running import Running
from deployd.delivery import Delivery, Followed, Proposal
from deployd.domain import AppState, Deploy
from deployd.errors import RequestRefused
from deployd.goal import Head, Trigger, Wanted
from deployd.housekeeping import Housekeeping
from deployd.lanes import Lanes
from deployd.logs.log import printable
from deployd.order.decide import last_known
from deployd.order.look import WAITS, Looks
from deployd.pipeline import Pipeline, why_unprovable
from deployd.plan import Plan, plan
from deployd.ports.checks import Checks
from deployd.ports.models import Models
from deployd.ports.source import Source
from deployd.ports.target import Target
from deployd.present import Present
from deployd.pruning import Pruned
from deployd.status import Status
from deployd.store.store import Store
from deployd.wording import by_hand

_LONGEST_TITLE = 200


class Scheduler:
    """Runs until cancelled; its methods may be called before `serve` has begun."""

    def __init__(
        self,
        running: Running,
        store: Store,
        source: Source,
        pipeline: Pipeline,
        aftermath: Aftermath,
        targets: Mapping[str, Target],
        *,
        waits: Sequence[float] = WAITS,
        checks: Checks | None = None,
        models: Models | None = None,
    ) -> None:
        """`waits`, `checks`, `models`: see Looks."""
        self._running = running
        self._store = store
        self._source = source
        self._present = Present(source, store, models)
        self._pipeline = pipeline
        self._housekeeping = Housekeeping(running, store, aftermath, targets)
        self._targets = targets
        self.lanes = Lanes(running, store, pipeline, aftermath, targets)
        self.looks = Looks(running, store, source, self.lanes.submit, waits, checks, models)

    async def serve(self) -> None:
        """Run the lanes and the looks."""
        await self._store.end_interrupted_steps()
        async with asyncio.TaskGroup() as tasks:
            self.lanes.open(tasks)
            tasks.create_task(self.looks.serve())
            tasks.create_task(self._housekeeping.forget())
            for name, target in self._targets.items():
                tasks.create_task(target.watch(partial(self.lanes.changed, name)), name=f"watch {name}")

    async def accept(self, delivery: Delivery, followed: Sequence[Followed]) -> list[str]:
        """Store a delivery and ask for a look for the apps that follow its refs; returns their names. Raises Unavailable."""
        names = await self._store.accept(delivery, followed)
        self.looks.ask(names)
        return names

    async def propose(self, delivery: Delivery, shown: Proposal, apps: Sequence[str]) -> Sequence[str]:
        """Prove a commit of a pull request for these apps, unless it is proven or being proven; returns their names.

        It takes the place of what the same pull request showed before, where that still waits. Raises Unavailable.
        """
        trigger, ref = Trigger("push", delivery=delivery.guid), f"refs/pull/{shown.number}/head"
        subject, author = printable(shown.title, _LONGEST_TITLE), printable(shown.author, _LONGEST_TITLE)
        known = [app for app in map(self._running.app, apps) if app is not None]
        seen = await self._store.known(app.name for app in known)
        wanted = [
            Wanted(
                app=app.name,
                commit=shown.commit,
                ref=ref,
                trigger=trigger,
                subject=subject,
                author=author,
                target=app.target,
                prove=True,
                registered=last_known(app, seen[app.name]),
            )
            for app in known
        ]
        for deploy in await self._store.propose(wanted):
            self.lanes.submit(deploy)
        return apps

    async def deploy(
        self,
        name: str,
        commit: str | None,
        by: str | None,
        *,
        rebuild: bool = False,
        prove: bool = False,
        accept_changes: bool = False,
    ) -> Deploy:
        """Deploy a commit, branch or tag by hand; None means the head of the ref that the app follows. `rebuild`: build it anew,
        without the cache, from base images that are pulled. `prove`: ask all gates of it, and never switch to it.
        `accept_changes`: other predictions are expected."""
        app = self._app(name)
        if prove and (why := why_unprovable(app)):
            raise RequestRefused(409, why, hint=f"deployd deploy {name} deploys it")
        head = (
            await self._present.head(app) if commit is None else Head(app.ref, await self._source.resolve(app, commit))
        )
        registered = await self._present.registered(app)
        wanted = Wanted(
            app=name,
            commit=head.commit,
            ref=head.ref,
            trigger=Trigger("manual", by=by),
            target=app.target,
            rebuild=rebuild,
            prove=prove,
            accept_changes=accept_changes,
            registered=registered,
        )
        deploy = await self._store.queue(wanted)
        self.lanes.submit(deploy)
        return deploy

    async def rollback(self, name: str, to: int | None, by: str | None) -> Deploy:
        """Go back to an earlier release (None: the previous one), with the image that was kept: at once to the one that stands by
        for a watched release, which is returned; else as a deploy of its own."""
        app = self._app(name)
        state = await self._store.state(name)
        if to is None:
            if state.live is None:
                hint = f"deployd deploy {name} makes one"
                raise RequestRefused(409, f"{name} has no live release to go back from", hint=hint)
            to = state.live.standby
        if state.at_rest and (lane := self.lanes.get(name)) is not None:
            why = by_hand("rolled back", by)
            if (back := await lane.behind.return_by_hand(to, why)) is not None:
                return back
        if to is None:
            assert state.live is not None  # noqa: S101 - see above
            goal = await self._store.previous(name, state.live.number)
        else:
            goal = await self._store.deploy(name, to)
        if goal is None or goal.live_at is None or goal.image is None:
            what = f"{name}/{to} was never live" if to is not None else f"{name} has no earlier release"
            raise RequestRefused(409, what, hint=f"deployd history {name} shows the deploys")
        wanted = goal.again(trigger=Trigger("rollback", by=by), target=app.target, rollback_to=goal.number)
        deploy = await self._store.queue(wanted)
        await self._store.record_image(deploy, goal.image)
        self.lanes.submit(deploy)
        return deploy

    async def restart(self, name: str, by: str | None) -> Deploy:
        """Roll the present config out with the live release's image, as a deploy of its own."""
        app, state = self._app(name), await self._store.state(name)
        if state.live is None:
            raise RequestRefused(409, f"{name} has no live release", hint=f"deployd deploy {name} makes one")
        if state.live.target != app.target:
            what = f"{state.live.name} runs on {state.live.target}, and the config says {app.target}"
            raise RequestRefused(409, what, hint=f"deployd deploy {name} moves it")
        if app.target == "kubernetes" and app.kubernetes is not None and not app.kubernetes.create:
            what = f"deployd only sets the image of {name}'s Deployment"
            raise RequestRefused(409, what, hint="kubectl rollout restart deployment")
        deploy = await self._store.restart(name, app.target, release_digest(app), by)
        if deploy is None:
            what = f"a deploy of {name} is queued or in flight: it brings the current config too"
            raise RequestRefused(409, what, hint=f"deployd status {name} shows it")
        self.lanes.submit(deploy)
        return deploy

    def older_config(self, state: AppState) -> bool:
        """Whether the live release of an app was made with another config than the present one, as far as that is known."""
        app, live = self._running.app(state.app), state.live
        return app is not None and live is not None and not made_with(live, app)

    async def cancel(self, name: str, number: int, by: str | None = None) -> Deploy:
        """Cancel a deploy that is queued or in flight."""
        deploy = await self._store.deploy(name, number)
        if deploy is None:
            raise RequestRefused(404, f"there is no deploy {name}/{number}", hint=f"deployd history {name} shows them")
        lane = self.lanes.get(name)
        if lane is not None and lane.cancel(number, by):
            return deploy
        if deploy.status is Status.QUEUED:
            deploy = await self._store.withdraw(deploy, by)
            if deploy.status is Status.CANCELLED or (lane is not None and lane.cancel(number, by)):
                return deploy
        if not deploy.status.active:
            hint = (
                f"only a queued or running deploy can be cancelled; deployd rollback {name} goes back from a live one"
            )
            raise RequestRefused(409, f"{deploy.name} {deploy.status.predicate} already", hint=hint)
        raise RequestRefused(409, f"{deploy.name} cannot be cancelled now", hint="try again in a moment")

    async def pause(self, name: str, *, paused: bool, by: str | None = None) -> None:
        """Keep deploys queued, or resume: then the newest one runs."""
        self._app(name)
        await self._store.pause(name, paused=paused, by=by)
        if (lane := self.lanes.get(name)) is not None:
            lane.pause(paused=paused)

    async def scale(self, name: str, replicas: int, by: str | None) -> None:
        """Run so many replicas."""
        app, target = self.target_of(name)
        await target.scale(app, replicas)
        await self._store.record_act([name], "scaled", by, str(replicas))

    async def redeliver(self, guid: str, by: str | None) -> None:
        """Take a delivery once more, as if its forge had sent it again."""
        if (received := await self._store.delivery(guid)) is None:
            raise RequestRefused(
                404, f"there is no delivery {guid}", hint="old deliveries are forgotten; see [retention]"
            )
        names = await self.accept(received.delivery, received.followed)
        await self._store.record_act(names, "redelivered", by, guid)

    async def remove(self, name: str) -> None:
        """Remove an app that is no longer in the config from its targets."""
        await self._housekeeping.remove(name, self.lanes.serving(name))

    async def prune(self, name: str | None, *, dry_run: bool) -> Sequence[Pruned]:
        """Remove what is beyond `[retention]` now, of one app or of all, or say what would go. Raises RequestRefused 404."""
        return await self._housekeeping.prune(name, dry_run=dry_run)

    def target_of(self, name: str) -> tuple[App, Target]:
        """An app and its target. Raises RequestRefused 404."""
        app = self._app(name)
        return app, self._targets[app.target]

    async def plan(self, name: str, commit: str | None) -> Plan:
        """A preview of deploying that commit, branch or tag (None: the head). Raises RequestRefused 404."""
        app = self._app(name)
        named = commit if commit is not None else (await self._present.head(app)).commit
        registered = await self._present.registered(app)
        return await plan(app, named, registered, self._source, self._store, self._pipeline, self.looks.ask_checks)

    def _app(self, name: str) -> App:
        if (app := self._running.app(name)) is None:
            known = ", ".join(sorted(app.name for app in self._running.apps)) or "none"
            raise RequestRefused(404, f"there is no app {name}", hint=f"configured apps: {known}")
        return app
