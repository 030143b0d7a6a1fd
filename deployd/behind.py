"""When the work after a switch runs, for one app: start it, stop it for the next deploy, start it again.

`aftermath.py` does the work; this holds the one task that it runs in, and lets a person go back during a watch.

While a deploy changes what serves, nothing is watched here, and a return that has begun ends first: so one thing at a time moves
the traffic. A watch that was stopped for a deploy that failed begins anew.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial

from deployd.aftermath import Aftermath
from deployd.config.app import App
from deployd.config.daemon import Retention
from deployd.domain import Deploy, GateResult
from deployd.errors import DeploydError, RolloutFailed, Unavailable
from deployd.keeper import Keeper
from deployd.ports.target import InFlight, Target
from deployd.returning import return_traffic
from deployd.store.store import Store
from deployd.tasks import stop, uninterrupted
from deployd.watch.requests import Baseline
from deployd.watch.stage import OneWatch, Watched

logger = logging.getLogger(__name__)

# A minute or two are kept of them.
_SAMPLE_SECONDS = 5.0

UntilDone = Callable[[Callable[[], Awaitable[object]]], Awaitable[None]]
"""Repeats some work until it succeeds."""


class Behind:
    """One task at a time, in the task group of the lane."""

    def __init__(
        self,
        *,
        store: Store,
        aftermath: Aftermath,
        keeper: Keeper,
        target: Callable[[App], Target],
        app: Callable[[], App],
        retention: Callable[[], Retention],
        in_flight: InFlight,
    ) -> None:
        self._store = store
        self._aftermath = aftermath
        self._keeper = keeper
        self._target_of = target
        self._app_now = app
        self._retention = retention
        self._in_flight = in_flight
        self._task: asyncio.Task[None] | None = None
        self._in_watch = self._interrupted = False
        self._watching: OneWatch | None = None
        self._baseline = Baseline()
        self._asked_back: asyncio.Future[Deploy | None] | None = None

    def open(self, tasks: asyncio.TaskGroup, until_done: UntilDone) -> None:
        """Work in these tasks from now on."""
        self._tasks = tasks
        self._until_done = until_done

    @property
    def watched(self) -> Watched | None:
        """The release that is watched now."""
        return self._watching.watched if self._watching is not None else None

    async def follow(self) -> None:
        """A release is live: watch it and clean up after it. Stops such work for an earlier release."""
        await self._stop()
        self._interrupted = False
        self._start(self._follow)

    def prune(self) -> None:
        """Prune after a failed deploy, unless other work is running: that prunes at its end."""
        if self._task is None or self._task.done():
            self._start(partial(self._aftermath.prune, self._app_now(), self._retention()))

    def wake(self) -> None:
        """Something changed outside deployd: let a running watch measure at once."""
        if self._watching is not None:
            self._watching.wake()

    async def step_back(self) -> None:
        """A deploy is about to change what serves: end a watch. A return that has begun is done before this returns."""
        if self._in_watch:
            await self._stop()
            self._interrupted = True

    async def resume(self) -> None:
        """The deploy has ended without a new release: watch the live one again, if it was watched."""
        if self._interrupted:
            await self.follow()

    async def return_by_hand(self, to: int | None, why: str) -> Deploy | None:
        """Return the traffic of a watched release at once, for a person. The deploy that is live then.

        None when nothing is watched, when another release than the one that stands by is meant (`to`), or when that one is not
        known to be good."""
        watching = self._watching
        if watching is None or to not in {None, watching.watched.standby} or not await watching.can_return():
            return None
        if self._watching is not watching or self._asked_back is not None:
            return None
        asked = self._asked_back = asyncio.get_running_loop().create_future()
        watching.order(why)
        return await asyncio.shield(asked)

    async def sample(self) -> None:
        """Sample the requests to the live release of a watched app, as the baseline for the next watch, until cancelled."""
        while True:
            await asyncio.sleep(_SAMPLE_SECONDS)
            app = self._app_now()
            if app.watch is None:
                continue
            with suppress(DeploydError):  # what cannot be seen now is not known later
                live = (await self._store.state(app.name)).live
                if live is not None and live.target == app.target:
                    self._baseline.add(live.number, await self._target_of(app).traffic(app, live.number))

    async def _follow(self) -> None:
        app = self._app_now()
        live = (await self._store.state(app.name)).live
        if live is not None and live.standby is not None:
            await self._watch(app, live)
            live = (await self._store.state(app.name)).live
        if live is not None:
            await self._aftermath.follow(app, live, self._retention(), self._in_flight)

    async def _watch(self, app: App, live: Deploy) -> None:
        if app.watch is None or live.target != app.target:
            await self._store.end_watch(live)
            return
        self._in_watch = True
        try:
            if live.returning:  # the target was away when it was to return
                await self._return_traffic(app, live, live.returning)
            else:
                returning = partial(self._return_traffic, app, live)
                await self._aftermath.watch(app, live, self._in_flight, self._baseline, self._begun, returning)
        except RolloutFailed as exc:
            logger.error("%s stays live though it has failed its watch: %s", live.name, exc)
            await self._store.end_watch(live)
        finally:
            self._in_watch, self._watching = False, None
            self._answer(None)

    def _begun(self, watching: OneWatch) -> None:
        self._watching = watching

    def _answer(self, back: Deploy | None) -> None:
        """Answer the person who has asked for a return."""
        asked, self._asked_back = self._asked_back, None
        if asked is not None and not asked.done():
            asked.set_result(back)

    async def _return_traffic(self, app: App, live: Deploy, reason: str, results: Sequence[GateResult] = ()) -> float:
        return await uninterrupted(self._returned(app, live, reason, results))

    async def _returned(self, app: App, live: Deploy, reason: str, results: Sequence[GateResult]) -> float:
        await self._keeper.step_back()
        try:
            back, took = await return_traffic(self._store, self._target_of(app), app, live, reason, results)
        finally:
            self._keeper.resume()
        self._answer(back)
        return took

    async def _stop(self) -> None:
        if self._task is not None:
            await stop(self._task)

    def _start(self, work: Callable[[], Awaitable[None]]) -> None:
        async def attempt() -> None:
            try:
                await work()
            except Unavailable:
                raise
            except DeploydError as exc:
                logger.error("Cannot clean up: %s (%s)", exc, exc.hint)
            except OSError as exc:
                logger.error("Cannot clean up: %s", exc)

        async def until_done() -> None:
            await self._until_done(attempt)

        self._task = self._tasks.create_task(until_done())
