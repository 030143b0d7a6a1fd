"""One app's lane: at most one deploy in flight, and the newest wins.

What waits is in the store; the lane is woken to look. Something newer cancels the deploy in flight once, its clean-up is awaited,
and only then the next begins.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from deployd.aftermath import Aftermath
from deployd.backoff import Backoff
from deployd.config.app import App
from deployd.config.running import Running
from deployd.domain import Deploy, Status
from deployd.errors import DeploydError, Unavailable
from deployd.flight import Flight, ending
from deployd.logs.log import fields
from deployd.metrics import DEPLOYS
from deployd.pipeline import Pipeline
from deployd.ports import Target
from deployd.recovery import Recovery
from deployd.store.store import Store
from deployd.tasks import stop

logger = logging.getLogger(__name__)


class Lane:
    """Serves one app until it is cancelled. Each deploy runs with the config as it is when it begins."""

    def __init__(
        self,
        app: App,
        running: Running,
        store: Store,
        pipeline: Pipeline,
        aftermath: Aftermath,
        target: Callable[[App], Target],
    ) -> None:
        self._app = app
        self._running = running
        self._store = store
        self._pipeline = pipeline
        self._aftermath = aftermath
        self._target = target
        self._wake = asyncio.Event()
        self._paused = False  # the store's word counts; when this is so too, a flood of pushes need not ask for it
        self._flight: Flight | None = None
        self._cleaning: asyncio.Task[None] | None = None
        self._backoff = Backoff()
        self._retry: tuple[int, float] = (0, 0.0)  # the deploy that waits for something outside, and until when
        self._busy_since = 0.0  # when the present chain of deploys, each superseding the last, began

    @property
    def app(self) -> App:
        """The app as it is configured now."""
        return self._running.app(self._app.name) or self._app

    def submit(self, deploy: Deploy) -> None:
        """Something new waits. Cannot fail and returns at once."""
        self._backoff.reset()
        self._wake.set()
        flight = self._flight
        if flight is not None and deploy.number > flight.deploy.number and not (self._paused or self._starving()):
            flight.stop("newer")

    def look(self) -> None:
        """Look again what waits (after a reload, at start)."""
        self._wake.set()

    def pause(self, *, paused: bool) -> None:
        """Take no more deploys, or look again what waits. The deploy in flight goes on, whatever is pushed meanwhile."""
        self._paused = paused
        self._wake.set()

    def cancel(self, number: int) -> bool:
        """Stop the deploy in flight by hand; False when that is another or none."""
        if self._flight is None or self._flight.deploy.number != number:
            return False
        self._flight.stop("hand")
        return True

    async def serve(self) -> None:
        """Recover what an earlier life left, then take deploys, newest first, one at a time."""
        with fields(app=self._app.name):
            async with asyncio.TaskGroup() as self._tasks:
                await self._until_done(self._recover)
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    deploy = None if self._paused else await self._store.take_newest(self._app.name)
                    if deploy is None:
                        self._busy_since = 0.0
                    elif not self._too_early(deploy):
                        await self._fly(deploy)
                        self._wake.set()

    async def _recover(self) -> None:
        if (live := await self._recovery().recover()) is not None:
            await self._clean_up_behind(live)
        self._wake.set()

    def _recovery(self) -> Recovery:
        return Recovery(self._store, self._target(self.app), self.app)

    async def _fly(self, deploy: Deploy) -> None:
        """Run a deploy to its end and record that. Only the stop of the daemon cancels us."""
        if not self._busy_since:
            self._busy_since = time.monotonic()
        with fields(deploy=deploy.number, commit=deploy.commit[:12]):
            task = asyncio.create_task(self._pipeline.run(self.app, deploy, self._outrun))
            self._flight = flight = Flight(deploy, task)
            try:
                await asyncio.wait({task})  # unlike `await task`: our cancellation and its own stay distinct
            except asyncio.CancelledError:
                flight.stop("stop")
                await asyncio.wait({task})
                with _excused():
                    await self._land(flight, stopping=True)
                raise
            finally:
                self._flight = None
            await self._until_done(partial(self._land, flight))

    async def _land(self, flight: Flight, *, stopping: bool = False) -> None:
        """Record how a flight ended, and go on from there; a stop leaves what comes next to the next start."""
        deploy = await self._store.deploy(flight.deploy.app, flight.deploy.number) or flight.deploy
        error, waiting = flight.error(), await self._store.newest_waiting(deploy.app)
        end = ending(deploy, error, flight.asked, waiting)
        status = deploy.status if end is None else end.status
        if end is not None and end.status is Status.QUEUED and isinstance(error, Unavailable):
            await self._wait_for_the_world(deploy, error)
        elif end is not None:
            await self._store.advance(
                deploy, end.status, reason=end.reason, hint=end.hint, superseded_by=end.superseded_by
            )
        if status is not Status.SUPERSEDED:
            self._busy_since = 0.0
        if status is not Status.QUEUED:
            DEPLOYS.labels(deploy.app, status.value).inc()
        if not stopping:
            await self._afterwards(deploy, status)
        withdrawn = deploy.status is Status.CANCELLED  # by hand, in the moment in which it was taken up
        if error is not None and not isinstance(error, DeploydError) and not withdrawn:
            raise error

    async def _afterwards(self, deploy: Deploy, status: Status) -> None:
        """What the end of a deploy asks for: a clean-up, or that the live release serves again."""
        if status is Status.LIVE:
            self._backoff.reset()
            await self._clean_up_behind(deploy)
            return
        if status is Status.FAILED:
            self._prune()
        if deploy.status is Status.ROLLING_OUT:  # it had begun to change what serves
            await self._until_done(self._recovery().settle)

    async def _wait_for_the_world(self, deploy: Deploy, error: Unavailable) -> None:
        delay = self._backoff.fail()
        self._retry = (deploy.number, time.monotonic() + 0.9 * delay)  # so that the wake-up never comes too early
        reason = f"{error.message}; trying again in {delay:.0f} s"
        await self._store.advance(deploy, Status.QUEUED, reason=reason, hint=error.hint)
        asyncio.get_running_loop().call_later(delay, self._wake.set)

    def _too_early(self, deploy: Deploy) -> bool:
        number, until = self._retry
        return deploy.number == number and time.monotonic() < until

    async def _outrun(self) -> bool:
        """Whether something newer waits that the deploy in flight has to make way for."""
        flight = self._flight
        if flight is None or self._paused or self._starving():
            return False
        return await self._store.newest_waiting(flight.deploy.app) > flight.deploy.number

    def _starving(self) -> bool:
        """Deploys have superseded each other for so long that the present one may finish."""
        finish_after = self._running.config.supersede.finish_after
        return bool(self._busy_since) and time.monotonic() - self._busy_since > finish_after

    async def _clean_up_behind(self, live: Deploy) -> None:
        """Follow a release that went live, beside the next deploy; what an earlier clean-up had left this one does."""
        if self._cleaning is not None:
            await stop(self._cleaning)
        retention = self._running.config.retention
        self._clean_up(partial(self._aftermath.follow, self.app, live, retention, self._number_in_flight))

    def _number_in_flight(self) -> int | None:
        return self._flight.deploy.number if self._flight is not None else None

    def _prune(self) -> None:
        """Forget what is too old after a deploy that failed too, unless a clean-up is under way that will."""
        if self._cleaning is None or self._cleaning.done():
            self._clean_up(partial(self._aftermath.prune, self.app, self._running.config.retention))

    def _clean_up(self, work: Callable[[], Awaitable[None]]) -> None:
        async def attempt() -> None:
            try:
                await work()
            except Unavailable:
                raise
            except DeploydError as exc:
                logger.error("Cannot clean up: %s (%s)", exc, exc.hint)
            except OSError as exc:
                logger.error("Cannot clean up: %s", exc)

        self._cleaning = self._tasks.create_task(self._until_done(attempt))

    async def _until_done(self, work: Callable[[], Awaitable[object]]) -> None:
        """Try until it succeeds. What must be mended by a person (an account's rights, a kubeconfig) keeps this one lane
        waiting, never the daemon."""
        backoff = Backoff()
        while True:
            try:
                await work()
            except DeploydError as exc:
                delay = backoff.fail()
                level = logging.WARNING if isinstance(exc, Unavailable) else logging.ERROR
                logger.log(level, "%s%s; trying again in %.0f s", exc, f" ({exc.hint})" if exc.hint else "", delay)
                await asyncio.sleep(delay)
            else:
                return


@contextlib.contextmanager
def _excused() -> Iterator[None]:
    """A disk that refuses does not keep the daemon from stopping: the next start finds an interrupted deploy."""
    try:
        yield
    except Unavailable as exc:
        logger.error("Cannot record how the deploy ended: %s (%s)", exc, exc.hint)
