"""The work after the switch: watch the new release, run its hooks, drain the old one, then prune old images and logs.

Here is what to do; `behind.py` decides when, and runs it at the same time as the app's next deploy, which stays untouched.
`returning.py` moves the traffic back if the watch fails. `reporters/` tell people about a release, from the store's outbox.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from deployd.config.app import App
from deployd.config.daemon import Retention
from deployd.domain import Deploy, GateResult
from deployd.gates.own import Facts
from deployd.hooks import run_hooks
from deployd.logs.log import DaemonLog
from deployd.logs.logs import Logs
from deployd.metrics import GATES
from deployd.ports.builder import Builder
from deployd.ports.log import Log
from deployd.ports.target import InFlight, Target
from deployd.pruning import Pruned, Pruner
from deployd.recorder import Recorder
from deployd.store.store import Store
from deployd.tasks import beside, together
from deployd.watch.requests import Baseline
from deployd.watch.stage import OneWatch, Watch

Began = Callable[[OneWatch], None]
ReturnTraffic = Callable[[str, Sequence[GateResult]], Awaitable[float]]
"""Returns the traffic of a release for a reason and what its watch has found; the seconds until it had moved."""


class Aftermath:
    """The stage behind the pipeline. `cache_limit` is in bytes."""

    def __init__(
        self,
        store: Store,
        logs: Logs,
        targets: Mapping[str, Target],
        builder: Builder,
        cache_limit: int,
        watch: Watch,
    ) -> None:
        self._watch = watch
        self._store = store
        self._logs = logs
        self._targets = targets
        self._pruner = Pruner(store, logs, builder, cache_limit)

    async def watch(
        self,
        app: App,
        live: Deploy,
        in_flight: InFlight,
        baseline: Baseline,
        began: Began,
        return_traffic: ReturnTraffic,
    ) -> None:
        """Watch `live` beside the release that stands by for it, and return the traffic by `return_traffic` if it turns bad.

        `began` gets the watch, once it has begun. Meanwhile other containers of the app are drained, and its hooks run.
        """
        standby = await self._store.deploy(app.name, live.standby) if live.standby is not None else None
        if standby is None:
            return
        with self._logs.open(app.name, live.number) as log, suppress(_Returned):
            recorder = Recorder(self._store, live, log)
            watching = await self._watch.begin(app, live, standby, log, baseline)
            rest = self._targets[app.target].sweep(app, live.number, log, in_flight, standby=standby.number)
            async with recorder.step("watch"), beside(rest, self._hooks(app, live, recorder)):
                began(watching)
                until = f"{watching.watched.until:%H:%M:%S} UTC"
                await recorder.tell("watch", f"watched until {until}; {standby.name} stands by")
                if reason := log.redact(await watching.run(partial(recorder.tell, "watch"))):
                    log.write(f"the traffic returns: {reason}\n")
                    took = await return_traffic(reason, watching.results(log))
                    log.write(f"the traffic was back at {standby.name} {took:.3f} s after the verdict\n")
                    await watching.measure_again()
                    await self._record(live, watching.results(log))
                    raise _Returned
                await self._record(live, watching.results(log))
        if not reason:
            await self._store.end_watch(live)

    async def _record(self, live: Deploy, results: Sequence[GateResult]) -> None:
        """Record and count what a watch that is over has found."""
        await self._store.record_watch(live, results)
        for result in results:
            GATES.labels(live.app, result.name, result.verdict).inc()

    async def follow(self, app: App, deploy: Deploy, retention: Retention, in_flight: InFlight) -> None:
        """Clean up behind `deploy`, which is live. `in_flight` tells the number of the deploy that is under way meanwhile."""
        with self._logs.open(app.name, deploy.number) as log:
            recorder = Recorder(self._store, deploy, log)
            await together(self._hooks(app, deploy, recorder), self._drain(app, deploy, recorder, in_flight))
            async with recorder.step("prune"):
                await self.prune(app, retention, log)

    async def _hooks(self, app: App, deploy: Deploy, recorder: Recorder) -> None:
        """Run the hooks that come after the switch: once, though a daemon that starts follows what is live again."""
        known = await self._store.deploy(app.name, deploy.number) or deploy
        done = {step.name for step in known.steps if step.status in {"done", "failed"}}
        if app.hook and "prune" not in done:
            async with self._targets[app.target].asked(app, known) as release:
                facts = Facts.of_release(app, known, release)
                await run_hooks("after", facts, recorder, done)

    async def _drain(self, app: App, deploy: Deploy, recorder: Recorder, in_flight: InFlight) -> None:
        async with recorder.step("drain"):
            await self._leave_former_targets(app, deploy)
            await self._targets[app.target].sweep(app, deploy.number, recorder.log, in_flight)

    async def prune(self, app: App, retention: Retention, log: Log | None = None) -> None:
        """Remove the app's images and logs past their limits; never an image that is live, previous or in flight."""
        for image in await self._pruner.images(app.name, retention):
            if log is not None:  # the daemon's log has it already
                log.write(f"{'removed' if image.gone else 'kept'} the image {image.name}{_note(image)}\n")
        if said := ", ".join(f"{_amount(freed.size)} of {freed.what}" for freed in await self._pruner.rest(retention)):
            (log or DaemonLog()).write(f"freed {said}\n")

    async def prune_apps(
        self, names: Iterable[str], removed: Iterable[str], retention: Retention, *, dry_run: bool
    ) -> list[Pruned]:
        """Prune several apps for a person, and all images of the `removed` ones. Returns what was removed, or would be."""
        found = [each for name in names for each in await self._pruner.images(name, retention, dry_run=dry_run)]
        found += [each for name in removed for each in await self._pruner.all_images(name, dry_run=dry_run)]
        return found + await self._pruner.rest(retention, dry_run=dry_run)

    async def remove_images(self, app: str) -> None:
        """Remove all images of an app that is removed."""
        await self._pruner.all_images(app)

    async def _leave_former_targets(self, app: App, deploy: Deploy) -> None:
        """Remove an app whose `target` changed from the targets of its earlier releases, but not from that of its next one."""
        before = {release.target for release in await self._store.released(app.name)}
        for name in (before - {deploy.target, app.target}) & self._targets.keys():
            await self._targets[name].remove(app.name)


class _Returned(Exception):
    """Marks the step of a watch as failed; its consequences are already dealt with."""


def _amount(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"


def _note(image: Pruned) -> str:
    return f" ({image.note})" if image.note else ""
