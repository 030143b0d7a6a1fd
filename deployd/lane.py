"""One app's lane: at most one deploy in flight, and the newest push wins.

What waits is in the store; the lane is woken to look. A newer push cancels the deploy in flight once, its clean-up is awaited,
and only then the next begins. Who asked for a cancellation is our own record, never read from the exception.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Literal

from deployd.config.app import App
from deployd.config.daemon import Config
from deployd.domain import Deploy, Status
from deployd.errors import DeploydError, Unavailable
from deployd.heads import make_way
from deployd.logs.log import DaemonLog, fields
from deployd.metrics import DEPLOYS
from deployd.pipeline import Pipeline
from deployd.ports import Target
from deployd.store.store import Store
from deployd.tasks import cancel_once
from deployd.wanted import Outdated

logger = logging.getLogger(__name__)

_RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Lane:
    """Serves one app until it is cancelled. What it is set to may be replaced at any time: the next deploy uses it."""

    target: Target

    def __init__(self, app: App, config: Config, store: Store, pipeline: Pipeline) -> None:
        self.app = app
        self.config = config
        self._store = store
        self._pipeline = pipeline
        self._paused = False  # the store's word counts; when this is so too, a flood of pushes need not ask for it
        self._wake = asyncio.Event()
        self._deploy: Deploy | None = None
        self._task: asyncio.Task[None] | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._asked: Literal["newer", "hand"] | None = None
        self._unsettled = False  # the last deploy did not go live, though it had begun to change what serves
        self._failures = 0
        self._retry: tuple[int, float] = (0, 0.0)  # the deploy that waits for something outside, and until when
        self._busy_since = 0.0  # when the present chain of deploys, each superseding the last, began

    def submit(self, deploy: Deploy) -> None:
        """Something new waits. Cannot fail and returns at once."""
        self._failures = 0
        self._wake.set()
        if self._deploy is not None and deploy.number > self._deploy.number and not (self._paused or self._starving()):
            self._cancel("newer")

    def look(self) -> None:
        """Look again what waits (after a reload, at start)."""
        self._wake.set()

    def pause(self, *, paused: bool) -> None:
        """Take no more deploys, or look again what waits. The deploy in flight goes on, whatever is pushed meanwhile."""
        self._paused = paused
        self._wake.set()

    def cancel(self, number: int) -> bool:
        """Stop the deploy in flight by hand; False when that is another or none."""
        if self._deploy is None or self._deploy.number != number:
            return False
        self._cancel("hand")
        return True

    async def serve(self) -> None:
        """Recover what an earlier life left, then take deploys, newest first, one at a time."""
        with fields(app=self.app.name):
            async with asyncio.TaskGroup() as self._tasks:
                await self._until_done(self.recover)
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    if self._paused:
                        self._busy_since = 0.0
                        continue
                    deploy = await self._store.take_newest(self.app.name)
                    if deploy is None:
                        self._busy_since = 0.0
                    elif not self._too_early(deploy):
                        await self._serve_one(deploy)
                        if self._unsettled:
                            await self._until_done(self._settle)
                        self._wake.set()

    async def recover(self) -> None:
        """Bring the store and what really serves together, then let whatever is left over go."""
        if (deploy := (await self._store.state(self.app.name)).in_flight) is not None:
            if deploy.status is Status.ROLLING_OUT and await self.target.serving(self.app) == deploy.number:
                await self._store.advance(deploy, Status.LIVE, reason="the switch was found done after a restart")
            else:
                await self._store.advance(deploy, Status.QUEUED, reason="interrupted by a restart")
        live = await self._settle()
        if live is not None:
            await self._tidy(live)
        self._wake.set()

    async def _settle(self) -> Deploy | None:
        """Nothing unproven goes on serving: the live release, which comes back where it does not serve. Without one, what a
        deploy left half-made goes."""
        live = (await self._store.state(self.app.name)).live
        if live is None:
            if (serving := await self.target.serving(self.app)) is not None:
                await self._store.number_above(self.app.name, serving)
            await self.target.sweep(self.app, None, DaemonLog())
        elif await self.target.serving(self.app) != live.number:
            await self._restore(live)
        return live

    async def _restore(self, live: Deploy) -> None:
        """What the store says is live does not serve: bring it back; what does serve instead stays if that fails."""
        logger.warning("Deploy %s is recorded as live and does not serve: bringing it back", live.name)
        try:
            await self.target.restore(self.app, live)
        except Unavailable:
            raise
        except DeploydError as exc:
            logger.error("Cannot bring %s back: %s (%s)", live.name, exc, exc.hint)

    async def _serve_one(self, deploy: Deploy) -> None:
        self._deploy, self._asked = deploy, None
        if not self._busy_since:
            self._busy_since = time.monotonic()
        with fields(deploy=deploy.number, commit=deploy.commit[:12]):
            self._task = task = asyncio.create_task(self._pipeline.run(self.app, deploy, self._outrun))
            stopping = False
            try:
                await asyncio.wait({task})  # unlike `await task`: our cancellation and its own stay distinct
            except asyncio.CancelledError:  # only the daemon's stop cancels us
                stopping = True
                cancel_once(task)
                await asyncio.wait({task})
                raise
            finally:
                self._deploy = self._task = None
                if stopping:
                    with self._excused():
                        await self._ended(deploy, task, stopping=True)
                else:
                    await self._until_done(partial(self._ended, deploy, task, stopping=False))

    @contextlib.contextmanager
    def _excused(self) -> Iterator[None]:
        """A disk that refuses does not keep the daemon from stopping: the next start finds an interrupted deploy."""
        try:
            yield
        except Unavailable as exc:
            logger.error("Cannot record how the deploy ended: %s (%s)", exc, exc.hint)

    async def _ended(self, deploy: Deploy, task: asyncio.Task[None], *, stopping: bool) -> None:
        """The one place where the end of a task becomes the status of a deploy."""
        exc = None if task.cancelled() else task.exception()
        now = await self._store.deploy(deploy.app, deploy.number)
        status = now.status if now is not None else deploy.status
        self._unsettled = status is Status.ROLLING_OUT
        if status.ended and status is not Status.LIVE:
            return  # cancelled by hand in the very moment in which it was taken up
        status = await self._ended_as(deploy, status, exc, stopping=stopping)
        if status is not Status.SUPERSEDED:
            self._busy_since = 0.0
        if status is not Status.QUEUED:
            DEPLOYS.labels(deploy.app, status.value).inc()
        if exc is not None and not isinstance(exc, (DeploydError, Outdated)):
            raise exc

    async def _ended_as(self, deploy: Deploy, status: Status, exc: BaseException | None, *, stopping: bool) -> Status:
        """Record and return what a deploy that was at `status` has become; `exc` is None when it was cancelled."""
        if status is Status.LIVE:
            await self._went_live(deploy)
            return status
        if exc is None:
            return await self._stopped(deploy, stopping=stopping)
        if isinstance(exc, Outdated):
            return await make_way(self._store, deploy, exc.head)
        if isinstance(exc, Unavailable):
            return await self._wait_for_the_world(deploy, status, exc)
        reason, hint = (exc.message, exc.hint) if isinstance(exc, DeploydError) else (f"a bug in deployd: {exc!r}", "")
        await self._see(deploy)
        await self._store.advance(deploy, Status.FAILED, reason=reason, hint=hint)
        self._prune()
        return Status.FAILED

    async def _see(self, deploy: Deploy) -> None:
        """A head that failed or was cancelled, even before it was known to be one, is not tried again by itself."""
        if deploy.trigger.kind in {"push", "poll"}:
            await self._store.see(deploy.app, deploy.commit)

    async def _went_live(self, deploy: Deploy) -> None:
        self._failures = 0
        await self._tidy(deploy)

    async def _stopped(self, deploy: Deploy, *, stopping: bool) -> Status:
        newer = await self._store.newest_waiting(deploy.app)
        if stopping:
            await self._store.advance(deploy, Status.QUEUED, reason="deployd was stopped")
            return Status.QUEUED
        if self._asked == "hand":
            await self._see(deploy)
            await self._store.advance(deploy, Status.CANCELLED, reason="cancelled by hand")
            return Status.CANCELLED
        if newer < deploy.number:
            await self._store.advance(deploy, Status.QUEUED, reason="the newer push was cancelled")
            return Status.QUEUED
        reason = f"a newer push came: {deploy.app}/{newer}"
        await self._store.advance(deploy, Status.SUPERSEDED, superseded_by=newer, reason=reason)
        return Status.SUPERSEDED

    async def _wait_for_the_world(self, deploy: Deploy, status: Status, exc: Unavailable) -> Status:
        delay = _RETRY_SECONDS[min(self._failures, len(_RETRY_SECONDS) - 1)]
        self._failures += 1
        self._retry = (deploy.number, time.monotonic() + 0.9 * delay)  # so that the wake-up never comes too early
        reason = f"{exc.message}; trying again in {delay:.0f} s"
        if status is not Status.QUEUED:
            await self._store.advance(deploy, Status.QUEUED, reason=reason, hint=exc.hint)
        asyncio.get_running_loop().call_later(delay, self._wake.set)
        return Status.QUEUED

    def _too_early(self, deploy: Deploy) -> bool:
        number, until = self._retry
        return deploy.number == number and time.monotonic() < until

    def _cancel(self, asked: Literal["newer", "hand"]) -> None:
        if self._task is not None and (self._asked is None or asked == "hand"):
            self._asked = asked
            cancel_once(self._task)

    async def _outrun(self) -> bool:
        """Whether something newer waits that the deploy in flight has to make way for."""
        deploy = self._deploy
        if deploy is None or self._paused or self._starving():
            return False
        return await self._store.newest_waiting(deploy.app) > deploy.number

    def _starving(self) -> bool:
        """Pushes have superseded each other for so long that the present deploy may finish."""
        return bool(self._busy_since) and time.monotonic() - self._busy_since > self.config.supersede.finish_after

    async def _tidy(self, live: Deploy) -> None:
        """Clean up behind a release, beside the next deploy; what an earlier clean-up had left this one does."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.wait({self._tidying})
        self._clean_up(partial(self._pipeline.tidy, self.app, live, self.config.retention, self._number_in_flight))

    def _number_in_flight(self) -> int | None:
        return self._deploy.number if self._deploy is not None else None

    def _prune(self) -> None:
        """Forget what is too old after a deploy that failed too, unless a clean-up is under way that will."""
        if self._tidying is None or self._tidying.done():
            self._clean_up(partial(self._pipeline.prune, self.app, self.config.retention))

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

        self._tidying = self._tasks.create_task(self._until_done(attempt))

    async def _until_done(self, work: Callable[[], Awaitable[object]]) -> None:
        """Try until it succeeds. What must be mended by a person (an account's rights, a kubeconfig) keeps this one lane
        waiting, never the daemon."""
        failures = 0
        while True:
            try:
                await work()
            except DeploydError as exc:
                delay = _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)]
                failures += 1
                level = logging.WARNING if isinstance(exc, Unavailable) else logging.ERROR
                logger.log(level, "%s%s; trying again in %.0f s", exc, f" ({exc.hint})" if exc.hint else "", delay)
                await asyncio.sleep(delay)
            else:
                return
