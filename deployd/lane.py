"""The lane of one app: at most one deploy in flight, and the newest wins.

The queue is in the store; the lane wakes up and reads it. A newer deploy cancels the one in flight, once; the next deploy
begins only after the clean-up of the cancelled one.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from deployd.aftermath import Aftermath
from deployd.backoff import Backoff
from deployd.behind import Behind
from deployd.config.app import App
from deployd.config.digest import app_digest, release_digest
from deployd.config.running import Running
from deployd.domain import Deploy
from deployd.errors import DeploydError, Unavailable
from deployd.flight import Flight, ending
from deployd.keeper import Keeper
from deployd.logs.log import fields
from deployd.metrics import DEPLOYS
from deployd.pipeline import Pipeline
from deployd.ports.target import Target
from deployd.status import Status
from deployd.store.store import Store
from deployd.tasks import raise_if_cancelled

logger = logging.getLogger(__name__)

# How often what serves is compared with what should serve, beside the events; with many apps less often, to bound the cost.
_COMPARE_EVERY_S = 30.0
_COMPARE_APART_S = 0.1


class Lane:
    """Serves one app until it is cancelled. Each deploy runs with the config from the time when it begins."""

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
        self.keeper = Keeper(store, target, lambda: self.app, self._compare_every)
        self.behind = Behind(
            store=store,
            aftermath=aftermath,
            keeper=self.keeper,
            target=target,
            app=lambda: self.app,
            retention=lambda: self._running.config.retention,
            in_flight=lambda: self._flight.deploy.number if self._flight is not None else None,
        )
        self._wake = asyncio.Event()
        self._paused = False  # a copy of the store's flag, which decides; saves a read for each push in a flood
        self._reconfigured = False
        self._flight: Flight | None = None
        self._backoff = Backoff()
        # The number of the deploy that waits for something unavailable, and until when.
        self._retry: tuple[int, float] = (0, 0.0)
        self._busy_since = 0.0  # when the present chain of superseded deploys began, 0 without one

    @property
    def app(self) -> App:
        """The app as it is configured now."""
        return self._running.app(self._app.name) or self._app

    def submit(self, deploy: Deploy) -> None:
        """A new deploy is queued. Cannot fail and returns at once."""
        self._backoff.reset()
        self._wake.set()
        if (flight := self._flight) is not None and self._goes_first(deploy, flight.deploy):
            flight.stop("newer")

    def wake(self) -> None:
        """The config may have changed (a reload, the start): read the queue again, and see what the config asks for."""
        self._reconfigured = True
        self._wake.set()

    def pause(self, *, paused: bool) -> None:
        """Start no more deploys, or read the queue again. While paused, no push cancels the deploy in flight."""
        self._paused = paused
        self._wake.set()

    def cancel(self, number: int, by: str | None = None) -> bool:
        """Cancel the deploy in flight by hand; False when deploy `number` is not in flight."""
        if self._flight is None or self._flight.deploy.number != number:
            return False
        self._flight.stop("hand", by)
        return True

    async def serve(self) -> None:
        """Recover what an earlier run of the daemon left, then run deploys one at a time, the newest first."""
        with fields(app=self._app.name):
            async with asyncio.TaskGroup() as tasks:
                self.behind.open(tasks, self._until_done)
                await self._until_done(self._recover)
                tasks.create_task(self.keeper.serve())
                tasks.create_task(self.behind.sample())
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    deploy = None if self._paused else await self._store.take_newest(self._app.name)
                    if deploy is None:
                        self._busy_since = 0.0
                        if self._reconfigured:
                            self._reconfigured = False
                            await self._until_done(self._follow_the_config)
                    elif not self._too_early(deploy):
                        await self._fly(deploy)
                        self._wake.set()

    def _goes_first(self, deploy: Deploy, flying: Deploy) -> bool:
        """Whether a new deploy stops the one in flight. One that only proves its commit waits, and makes way for every other."""
        if deploy.prove or self._paused:
            return False
        return flying.prove or (deploy.number > flying.number and not self._starving())

    async def _recover(self) -> None:
        if await self.keeper.recover() is not None:
            await self.behind.follow()
        self._wake.set()

    async def _follow_the_config(self) -> None:
        """Queue what the present config asks for: another try of a head that failed for it, else the live release made anew."""
        app = self.app
        deploy = await self._store.try_again(app.name, app.target, app_digest(app))
        if deploy is not None:
            logger.info(
                "%s: %s failed because of the config; trying it again as %s", app.name, deploy.commit[:12], deploy.name
            )
        elif app.on_config_change == "restart":
            deploy = await self._store.renew(app.name, app.target, release_digest(app))
            if deploy is not None:
                logger.info("The config of %s has changed; rolling it out as %s", app.name, deploy.name)
        if deploy is not None:
            self._wake.set()

    async def _fly(self, deploy: Deploy) -> None:
        """Run a deploy to its end and record it. Only the scheduler cancels this, when the daemon stops or the app goes."""
        if not self._busy_since and not deploy.prove:
            self._busy_since = time.monotonic()
        with fields(deploy=deploy.number, commit=deploy.commit[:12]):
            task = asyncio.create_task(self._pipeline.run(self.app, deploy, self._may_cut_over))
            self._flight = flight = Flight(deploy, task)
            try:
                await asyncio.wait({task})  # unlike `await task`, this tells our cancellation from that of the task
            except asyncio.CancelledError:
                flight.stop("stop")
                await asyncio.wait({task})
                with _unavailable_logged():
                    await self._land(flight, stopping=True)
                raise
            finally:
                self._flight = None
            await self._until_done(partial(self._land, flight))
            self.keeper.resume()

    async def _land(self, flight: Flight, *, stopping: bool = False) -> None:
        """Record how a flight ended, then do what follows; when stopping, the next start does that."""
        deploy = await self._store.deploy(flight.deploy.app, flight.deploy.number) or flight.deploy
        error, queued = flight.error(), await self._store.newest_queued(deploy.app)
        end = ending(deploy, error, flight.asked, queued, flight.by)
        status = deploy.status if end is None else end.status
        if end is not None:
            again = f"; trying again in {self._retry_later(deploy):.0f} s" if end.retry else ""
            await self._store.advance(
                deploy,
                end.status,
                reason=end.reason + again,
                hint=end.hint,
                superseded_by=end.superseded_by,
                config_fault=end.config_fault,
            )
        if status is not Status.SUPERSEDED:
            self._busy_since = 0.0
        if status is not Status.QUEUED:
            DEPLOYS.labels(deploy.app, status.value).inc()
        if not stopping:
            await self._afterwards(deploy, status)
        withdrawn = deploy.status is Status.CANCELLED  # by hand, at the moment when it was taken from the queue
        if error is not None and not isinstance(error, DeploydError) and not withdrawn:
            raise error

    async def _afterwards(self, deploy: Deploy, status: Status) -> None:
        """Do what follows the end of a deploy: clean up, or make the live release serve again."""
        if status is Status.LIVE:
            self._backoff.reset()
            await self.behind.follow()
            return
        if status in {Status.FAILED, Status.PROVEN}:
            self.behind.prune()
        if deploy.status is Status.ROLLING_OUT:  # the roll-out had begun
            await self._until_done(self.keeper.settle)
        await self.behind.resume()

    def _retry_later(self, deploy: Deploy) -> float:
        """Wake up when the deploy may be tried again; in how many seconds."""
        delay = self._backoff.fail()
        # Less than the delay, so that the wake-up is never too early.
        self._retry = (deploy.number, time.monotonic() + 0.9 * delay)
        asyncio.get_running_loop().call_later(delay, self._wake.set)
        return delay

    def _too_early(self, deploy: Deploy) -> bool:
        number, until = self._retry
        return deploy.number == number and time.monotonic() < until

    async def _may_cut_over(self) -> bool:
        """False when a newer deploy is queued and must supersede the one in flight. Else nothing but this deploy changes what
        serves from now on."""
        if await self._outrun():
            return False
        await self.behind.step_back()
        await self.keeper.step_back()
        return True

    async def _outrun(self) -> bool:
        flight = self._flight
        if flight is None or self._paused or self._starving():
            return False
        return await self._store.newest_queued(flight.deploy.app) > flight.deploy.number

    def _compare_every(self) -> float:
        return max(_COMPARE_EVERY_S, len(self._running.apps) * _COMPARE_APART_S)

    def _starving(self) -> bool:
        """Whether deploys have superseded each other for so long that the present one may finish."""
        finish_after = self._running.config.supersede.finish_after
        return bool(self._busy_since) and time.monotonic() - self._busy_since > finish_after

    async def _until_done(self, work: Callable[[], Awaitable[object]]) -> None:
        """Try until it succeeds. A fault that a person must fix (missing rights, a kubeconfig) stops only this lane."""
        backoff = Backoff()
        while True:
            try:
                await work()
            except DeploydError as exc:
                raise_if_cancelled()
                delay = backoff.fail()
                level = logging.WARNING if isinstance(exc, Unavailable) else logging.ERROR
                logger.log(level, "%s%s; trying again in %.0f s", exc, f" ({exc.hint})" if exc.hint else "", delay)
                await asyncio.sleep(delay)
            else:
                return


@contextlib.contextmanager
def _unavailable_logged() -> Iterator[None]:
    """Only log Unavailable, so that a refusing disk does not keep the daemon from stopping; the next start recovers."""
    try:
        yield
    except Unavailable as exc:
        logger.error("Cannot record how the deploy ended: %s (%s)", exc, exc.hint)
