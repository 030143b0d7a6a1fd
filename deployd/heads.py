"""The repair of missed hooks: at start and every so often, branch heads are compared with what is deployed.

One `ls-remote` serves all apps of a repository. A head is asked for once: what failed or was cancelled is not tried again
until the branch moves or somebody asks.
"""

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable

from deployd.config.app import App
from deployd.domain import Trigger, Wanted
from deployd.errors import DeploydError, Unavailable
from deployd.metrics import HEAD_LAG
from deployd.ports import Source
from deployd.store.store import Store
from deployd.wanted import wanted_head

logger = logging.getLogger(__name__)

_JITTER = 0.1
_MAX_BACKOFF = 16


class Heads:
    """Watches the remotes of all apps. `ask` takes what is wanted and queues it."""

    def __init__(self, store: Store, source: Source, ask: Callable[[Wanted], Awaitable[object]]) -> None:
        self._store = store
        self._source = source
        self._ask = ask
        self._behind_since: dict[str, float] = {}
        self._wake = asyncio.Event()

    async def watch(self, apps: Callable[[], tuple[App, ...]], every: Callable[[], float]) -> None:
        """Poll for ever; `every` is in seconds, 0 means only at the start. A repository that fails is asked less often."""
        failures: dict[str, int] = {}
        due: dict[str, float] = {}
        looked_at: set[tuple[str, str, str]] = set()
        while True:
            self._wake.clear()
            now = time.monotonic()
            looked_at &= {_watched(app) for app in apps()}
            new = {app.repo for app in apps() if _watched(app) not in looked_at}
            for repo in sorted(new | {app.repo for app in apps() if due.get(app.repo, now) <= now}):
                asking = [app for app in apps() if app.repo == repo]
                well = await self._poll(asking)
                looked_at |= {_watched(app) for app in asking}
                failures[repo] = 0 if well else failures.get(repo, 0) + 1
                due[repo] = time.monotonic() + self._pause(every(), failures[repo])
            coming = [due[app.repo] for app in apps() if app.repo in due]
            await self._until(min(coming, default=math.inf))

    def wake(self) -> None:
        """Look at what no app has watched before, after a reload."""
        self._wake.set()

    async def look(self, app: App) -> bool:
        """Compare one app's head with what is deployed; whether something new was queued. Raises Unavailable."""
        heads = await self._source.heads(app)
        if (found := wanted_head(heads)) is None:
            return False
        ref, head = found
        state = await self._store.state(app.name)
        seen, declined = await self._store.heads(app.name)
        self._note_lag(app.name, behind=head != declined and (state.live is None or state.live.commit != head))
        if head in {seen, declined} or (seen is None and state.live is not None and state.live.commit == head):
            return False
        await self._ask(Wanted(app.name, head, ref, Trigger("poll")))
        logger.info("The poll found %s at %s", app.name, head[:12])
        return True

    async def _poll(self, apps: list[App]) -> bool:
        results = await asyncio.gather(*(self._try(app) for app in apps))
        return all(results)

    async def _try(self, app: App) -> bool:
        try:
            await self.look(app)
        except Unavailable as exc:
            logger.warning("Cannot ask for the head of %s: %s", app.name, exc)
            return False
        except DeploydError as exc:
            logger.error("Cannot poll %s: %s (%s)", app.name, exc, exc.hint)
            return False
        return True

    def _note_lag(self, app: str, *, behind: bool) -> None:
        if not behind:
            self._behind_since.pop(app, None)
        since = self._behind_since.setdefault(app, time.monotonic()) if behind else time.monotonic()
        HEAD_LAG.labels(app).set(time.monotonic() - since)

    async def _until(self, due: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if due == math.inf else max(0.0, due - time.monotonic())):
                await self._wake.wait()

    @staticmethod
    def _pause(every: float, failures: int) -> float:
        """Seconds to the next question: jittered, so that many daemons do not ask at once, and longer after failures."""
        if not every:
            return math.inf
        spread = every * _JITTER
        wait = every + random.uniform(-spread, spread)  # noqa: S311 - no secret
        return float(wait * min(2**failures, _MAX_BACKOFF))


def _watched(app: App) -> tuple[str, str, str]:
    return app.name, app.repo, app.ref
