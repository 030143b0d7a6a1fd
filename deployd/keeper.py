"""Reconciliation: keeps the recorded live release of one app serving.

The same few lines do it at the start, after an event outside, periodically, and after a deploy that broke off while it changed
what serves. From a cut-over to the end of its deploy nothing is compared or repaired: the deploy itself changes what serves.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from msgspec import structs

from deployd.backoff import DELAYS, Backoff
from deployd.config.app import App
from deployd.config.digest import release_digest
from deployd.domain import Deploy, Health
from deployd.errors import DeploydError, RolloutFailed, Unavailable
from deployd.logs.log import DaemonLog
from deployd.ports.target import Target
from deployd.returning import is_watched, return_traffic
from deployd.status import Status
from deployd.store.store import Store
from deployd.tasks import stop, uninterrupted

logger = logging.getLogger(__name__)

_UNREADY_S = 5.0
# After a repair that failed, and while the target is away.
_PAUSES = DELAYS
# Repairs that succeed one after the other: somebody else, another controller perhaps, changes it again each time.
_IN_A_ROW = (0.0,) * 5 + (5.0, 10.0, 30.0, 60.0)
_STABLE_S = 60.0
_MOST_RELEASES = 20


class Keeper:
    """The keeper of one app on its present target. It makes one comparison at a time."""

    def __init__(
        self, store: Store, target: Callable[[App], Target], app: Callable[[], App], every: Callable[[], float]
    ) -> None:
        """`every`: the seconds between comparisons that nothing asks for."""
        self._store = store
        self._target_of = target
        self._app_now = app
        self._every = every
        self._health: tuple[int, Health] | None = None  # of which deploy, and how it was when it was last compared
        self._repaired, self._repaired_at = False, 0.0
        self._asked = asyncio.Event()
        self._resumed = asyncio.Event()
        self._free = asyncio.Event()  # no deploy changes what serves
        self._free.set()
        self._work: asyncio.Task[Health | None] | None = None

    def health(self, number: int) -> Health | None:
        """How the live release `number` was at the last comparison; None before the first."""
        return self._health[1] if self._health is not None and self._health[0] == number else None

    @property
    def latest(self) -> Health | None:
        """How the release was that was compared last; None when there was none."""
        return self._health[1] if self._health is not None else None

    def wake(self) -> None:
        """The serving release may have changed: compare soon."""
        self._asked.set()

    async def step_back(self) -> None:
        """A deploy is about to switch: stop a running repair, and begin no other until `resume`."""
        self._free.clear()
        if self._work is not None:
            await stop(self._work)

    def resume(self) -> None:
        """The deploy has ended: go on, with a comparison at once."""
        self._free.set()
        self._asked.set()
        self._resumed.set()

    async def serve(self) -> None:
        """Compare when that is asked for and periodically, since an event may be missed, until cancelled."""
        backoff, in_a_row = Backoff(_PAUSES), Backoff(_IN_A_ROW)
        if self.latest is not None:  # `recover` has just compared
            await self._pause(self.latest, backoff)
        while True:
            await self._free.wait()
            self._asked.clear()
            self._resumed.clear()
            self._work = work = asyncio.create_task(self.keep())
            try:
                await asyncio.wait({work})
            except asyncio.CancelledError:
                await stop(work)
                raise
            if not work.cancelled():  # it is when a deploy goes first
                await self._yield_to_others(in_a_row)
                await self._pause(work.result(), backoff)

    async def _yield_to_others(self, in_a_row: Backoff) -> None:
        """Wait longer after each repair of many in a row, so that deployd does not fight with somebody else for a field."""
        if self._repaired:
            self._repaired, self._repaired_at = False, time.monotonic()
            await _wait(self._resumed, in_a_row.fail())
        elif time.monotonic() - self._repaired_at > _STABLE_S:
            in_a_row.reset()

    async def _pause(self, health: Health | None, backoff: Backoff) -> None:
        """Wait until the next comparison is asked for or due."""
        state = health.state if health is not None else "ok"
        if state == "down":
            await _wait(self._resumed, backoff.fail())  # not shortened by events: a repair that fails causes some, too
            return
        if state == "unknown":
            pause = backoff.fail()
        else:
            backoff.reset()
            pause = _UNREADY_S if state == "unready" else self._every() * random.uniform(0.9, 1.1)  # noqa: S311 - no secret
        await _wait(self._asked, pause)

    async def recover(self) -> Deploy | None:
        """Deal with the deploys that an earlier run of the daemon left in flight, then settle. The live release, if any."""
        app, target = self._app_now(), self._target
        if (deploy := (await self._store.state(app.name)).in_flight) is not None:
            if deploy.status is Status.ROLLING_OUT and await target.serving(app) == deploy.number:
                found, watched = "the switch was found done after a restart", is_watched(app, deploy)
                await self._store.advance(deploy, Status.LIVE, reason=found, watched=watched)
            else:
                await self._store.advance(deploy, Status.QUEUED, reason="interrupted by a restart")
        if (live := await self._live()) is not None and live.returning:
            with suppress(RolloutFailed):  # what stands by cannot serve: the live release stays
                await uninterrupted(return_traffic(self._store, target, app, live, live.returning))
        await self.settle()
        return await self._live()

    async def settle(self) -> None:
        """Make the recorded live release serve, and nothing unproven. Without a live release, remove the remains of interrupted
        deploys.

        Raises Unavailable, unlike `keep`. No deploy may be in flight."""
        app, target = self._app_now(), self._target
        if (live := await self._live()) is not None:
            await self._compare(live)
            return
        if (serving := await target.serving(app)) is not None:
            await self._store.number_above(app.name, serving)
        await target.sweep(app, None, DaemonLog())

    async def keep(self) -> Health | None:
        """Compare the recorded live release with the target, and repair differences. Its health afterwards; None without a live
        release."""
        live: Deploy | None = None
        try:
            live = await self._live()
            if live is None:
                self._health = None
                return None
            return await self._compare(live)
        except DeploydError as exc:
            unknown = Health("unknown", exc.message)
            return self._see(live, unknown) if live is not None else unknown

    async def _compare(self, live: Deploy) -> Health | None:
        app = self._app_now()
        if live.target != app.target:
            self._health = None
            return None
        known, health = self.health(live.number), await self._target.health(app, live)
        if health.state != "down":
            return self._see(live, health)
        if known is None or known.state != "down":  # else what is known says already why it could not be repaired
            self._see(live, health)
        return self._see(live, await self._restored(app, live, health))

    async def _restored(self, app: App, live: Deploy, before: Health) -> Health:
        """Restore the release; its health afterwards. When that fails, the release that serves instead stays."""
        try:
            if await self._target.restore(app, live):
                await self._store.record_config(live, release_digest(app))
        except Unavailable:
            raise
        except DeploydError as exc:
            what = f"{before.detail}; it cannot be restored: {exc.message}"
            hint = f" ({exc.hint})" if exc.hint else ""
            return Health("down", f"{what}{hint}; {await self._way_out(app, live)}")
        self._repaired = True
        return await self._target.health(app, live)

    async def _way_out(self, app: App, live: Deploy) -> str:
        """A hint for a person about a release that cannot be restored."""
        for release in await self._store.released(app.name, _MOST_RELEASES):
            if release.number != live.number and release.image is not None and release.target == app.target:
                with suppress(DeploydError):
                    if await self._target.has(release.image):
                        return (
                            f"`deployd rollback {app.name} --to {release.number}` can use an image that is still there"
                        )
        return f"no image of an earlier release is left: `deployd deploy {app.name}` builds it again"

    def _see(self, live: Deploy, health: Health) -> Health:
        """Remember how the release is, and log it once when that changes."""
        before = self.health(live.number) or Health()
        if health.state == before.state and health.state != "ok":
            health = structs.replace(health, since=before.since)
        elif health.state != "ok":
            health = structs.replace(health, since=datetime.now(UTC))
        if health.state != before.state or (health.state == "down" and health.detail != before.detail):
            _log(live, health)
        changed = self._health != (live.number, health)
        self._health = (live.number, health)
        if changed:
            self._store.tell_of_health(live, health)
        return health

    @property
    def _target(self) -> Target:
        return self._target_of(self._app_now())

    async def _live(self) -> Deploy | None:
        return (await self._store.state(self._app_now().name)).live


async def _wait(event: asyncio.Event, at_most: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(at_most):
            await event.wait()


def _log(live: Deploy, health: Health) -> None:
    match health.state:
        case "ok":
            logger.info("%s serves as it should again", live.name)
        case "down":
            logger.warning("%s does not serve: %s", live.name, health.detail)
        case "unready":
            logger.warning("%s is not ready: %s", live.name, health.detail)
        case "unknown":
            logger.warning("Cannot tell whether %s serves: %s", live.name, health.detail)
