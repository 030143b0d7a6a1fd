"""The repair of missed hooks: at start and every so often, branch heads are compared with what is deployed.

One `ls-remote` serves all apps of a repository. A head is asked for once: what failed or was cancelled is not tried again
until the branch moves or somebody asks.
"""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable

from deployd.config.app import App
from deployd.domain import Deploy, Status, Trigger, Wanted
from deployd.errors import DeploydError, Unavailable
from deployd.metrics import HEAD_LAG
from deployd.ports import Source
from deployd.store.store import Store
from deployd.wanted import wanted_head

logger = logging.getLogger(__name__)

_JITTER = 0.1
_MAX_BACKOFF = 16
_AFTER_A_FAILED_START_S = 60.0


class Heads:
    """Watches the remotes of all apps. `ask` takes what is wanted and queues it."""

    def __init__(self, store: Store, source: Source, ask: Callable[[Wanted], Awaitable[object]]) -> None:
        self._store = store
        self._source = source
        self._ask = ask
        self._behind_since: dict[str, float] = {}
        self._wake = asyncio.Event()

    async def watch(self, apps: Callable[[], tuple[App, ...]], every: Callable[[], float]) -> None:
        """Poll for ever, each repository by itself; `every` is in seconds, 0 means only at the start."""
        tasks: dict[str, asyncio.Task[None]] = {}
        looked_at: set[tuple[str, str, str, float]] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                watched = {(app.repo, app.name, app.ref, every()) for app in apps()}
                new = {repo for repo, *_ in watched - looked_at}
                gone = tasks.keys() - {app.repo for app in apps()}
                for repo in (new | gone) & tasks.keys():
                    tasks.pop(repo).cancel()
                for repo in new:
                    tasks[repo] = group.create_task(self._watch_one(repo, apps, every))
                looked_at = watched
                await self._wake.wait()

    async def _watch_one(self, repo: str, apps: Callable[[], tuple[App, ...]], every: Callable[[], float]) -> None:
        """A repository that fails is asked less often; at the start until it has answered once."""
        failures = 0
        while True:
            well = await self._poll([app for app in apps() if app.repo == repo])
            failures = 0 if well else failures + 1
            if (pause := self._pause(every(), failures)) == math.inf:
                return
            await asyncio.sleep(pause)

    def wake(self) -> None:
        """Look, after a reload, at what no app has watched before or not as often."""
        self._wake.set()

    async def look(self, app: App) -> bool:
        """Compare one app's head with what is deployed; whether something new was queued. Raises Unavailable."""
        heads = await self._source.heads(app)
        known = await self._store.known_head(app.name)
        if (found := wanted_head(heads, known)) is None:
            return False
        ref, head = found
        live = (await self._store.state(app.name)).live
        serves = live is not None and live.commit == head
        self._note_lag(app.name, behind=head != known.declined and not serves)
        if head in {known.seen, known.declined} or await self._on_its_way(app.name, head):
            return False
        if serves:
            await self._store.see(app.name, head)
            return False
        await self._ask(Wanted(app.name, head, ref, Trigger("poll")))
        logger.info("The poll found %s at %s", app.name, head[:12])
        return True

    async def _on_its_way(self, app: str, commit: str) -> bool:
        """A deploy of that commit waits or is in flight: its take-up sees to the head."""
        latest = await self._store.latest_of(app, commit)
        return latest is not None and (latest.status is Status.QUEUED or latest.status.active)

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

    @staticmethod
    def _pause(every: float, failures: int) -> float:
        """Seconds to the next question: jittered, so that many daemons do not ask at once, and longer after failures."""
        if not every:
            if not failures:
                return math.inf
            every = _AFTER_A_FAILED_START_S
        spread = every * _JITTER
        wait = every + random.uniform(-spread, spread)  # noqa: S311 - no secret
        return float(wait * min(2**failures, _MAX_BACKOFF))


async def make_way(store: Store, deploy: Deploy, head: tuple[str, str] | None) -> Status:
    """End `deploy`, as the branch has another head: that one is deployed, unless it was already seen to."""
    if head is None:
        await store.see(deploy.app, None)
        await store.advance(deploy, Status.CANCELLED, reason=f"{deploy.ref} is gone from the remote")
        return Status.CANCELLED
    ref, commit = head
    known = await store.latest_of(deploy.app, commit)
    if await _is_missing(store, deploy, commit, known):
        known = await store.queue_once(Wanted(deploy.app, commit, ref, Trigger("poll")))
    else:
        await store.see(deploy.app, commit)
    reason = f"{ref} is at {commit[:12]}" + (f": {known.name}" if known else "")
    by = known.number if known else None
    await store.advance(deploy, Status.SUPERSEDED, superseded_by=by, reason=reason)
    return Status.SUPERSEDED


async def _is_missing(store: Store, deploy: Deploy, head: str, known: Deploy | None) -> bool:
    """Nobody has seen to that head: it is new, or `known`, its deploy, made way for one that has to make way itself.

    What was seen already and failed, was cancelled or gave way to a person's choice stays as it is.
    """
    if known is not None and (known.number > deploy.number or known.status is Status.LIVE):
        return False
    if known is not None and known.status is Status.SUPERSEDED:
        return True
    return head != (await store.known_head(deploy.app)).seen
