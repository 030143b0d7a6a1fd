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
from typing import NamedTuple

from deployd.config.app import App
from deployd.domain import AppState, Deploy, Status, Trigger, Wanted
from deployd.errors import DeploydError, Unavailable
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
        self._behind: dict[str, _Behind] = {}
        self._wake = asyncio.Event()

    async def watch(self, apps: Callable[[], tuple[App, ...]], every: Callable[[], float]) -> None:
        """Poll for ever, each repository by itself; `every` is in seconds, 0 means only at the start."""
        tasks: dict[str, asyncio.Task[None]] = {}
        looked_at: set[tuple[str, str, str, float]] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                for name in self._behind.keys() - {app.name for app in apps()}:
                    del self._behind[name]
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
            self._behind.pop(app.name, None)
            return False
        ref, head = found
        state = await self._store.state(app.name)
        serves = state.live is not None and state.live.commit == head
        await self._note_lag(state, None if serves or head == known.declined else head)
        if head in {known.seen, known.declined} or await self._on_its_way(app.name, head):
            return False
        if serves or await self._was_passed_over(app.name, head):
            await self._store.see(app.name, head)
            return False
        await self._ask(Wanted(app.name, head, ref, Trigger("poll")))
        logger.info("The poll found %s at %s", app.name, head[:12])
        return True

    def lag(self, state: AppState) -> float:
        """For how many seconds an app has not served the head that the last look found; 0 once it does."""
        behind = self._behind.get(state.app)
        return 0.0 if behind is None or behind.is_over(state.live) else time.monotonic() - behind.since

    async def _on_its_way(self, app: str, commit: str) -> bool:
        """A deploy of that commit waits or is in flight: its take-up sees to the head."""
        latest = await self._store.latest_of(app, commit)
        return latest is not None and (latest.status is Status.QUEUED or latest.status.active)

    async def _was_passed_over(self, app: str, head: str) -> bool:
        """A person has asked for something else since that head was told of, and that is on its way or serves."""
        choice = await self._store.choice(app)
        if choice is None or not (choice.status in {Status.QUEUED, Status.LIVE} or choice.status.active):
            return False
        return await _came_before(self._store, choice, head)

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

    async def _note_lag(self, state: AppState, head: str | None) -> None:
        """The app does not serve `head`, or None: there is nothing that it should serve instead."""
        if head is None:
            self._behind.pop(state.app, None)
            return
        before = self._behind.get(state.app)
        if before is not None and before.is_over(state.live):
            before = None
        if before is None or before.head != head:
            since = before.since if before is not None else time.monotonic()
            newest = await self._store.deploys(state.app, 1)
            self._behind[state.app] = _Behind(head, since, newest[0].number if newest else 0)

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


class _Behind(NamedTuple):
    """A head that an app does not serve; since when it serves none; the app's newest deploy when this one was found."""

    head: str
    since: float
    newest: int

    def is_over(self, live: Deploy | None) -> bool:
        """It serves now, or what a push has told of since: that was the head when it was taken up."""
        if live is None:
            return False
        return live.commit == self.head or (live.number > self.newest and live.trigger.kind in {"push", "poll"})


async def make_way(store: Store, deploy: Deploy, head: tuple[str, str] | None) -> Status:
    """End `deploy`, as the branch has another head: that one is deployed, unless it was already seen to.

    What a person had chosen, and what made way for `deploy` alone, is queued again.
    """
    choice = await store.choice(deploy.app, deploy.number)
    if choice is not None and choice.status is not Status.SUPERSEDED:
        choice = None  # it had its turn
    if head is None:
        if choice is not None:
            await store.queue_again(choice)
        await store.see(deploy.app, None)
        await store.advance(deploy, Status.CANCELLED, reason=f"{deploy.ref} is gone from the remote")
        return Status.CANCELLED
    ref, commit = head
    known = await store.latest_of(deploy.app, commit)
    if choice is not None and await _came_before(store, choice, commit):
        await store.see(deploy.app, commit)
        await store.queue_again(choice)
    elif await _is_missing(store, deploy, commit, known):
        known = await store.queue_once(Wanted(deploy.app, commit, ref, Trigger("poll")))
    else:
        await store.see(deploy.app, commit)
    reason = f"{ref} is at {commit[:12]}" + (f": {known.name}" if known else "")
    by = known.number if known else None
    await store.advance(deploy, Status.SUPERSEDED, superseded_by=by, reason=reason)
    return Status.SUPERSEDED


async def _came_before(store: Store, choice: Deploy, head: str) -> bool:
    """The branch was at `head` already when a person made that choice; it has not come back to it since."""
    known = await store.latest_of(choice.app, head)
    if known is not None and known.number > choice.number:
        return False
    if head == (await store.known_head(choice.app)).seen:
        return True
    gave_way = known is None or known.status is Status.SUPERSEDED
    return gave_way and await store.told_before(choice.app, head, choice.number)


async def _is_missing(store: Store, deploy: Deploy, head: str, known: Deploy | None) -> bool:
    """Nobody has seen to that head: it is new, or `known`, its deploy, made way for one that has to make way itself.

    What was seen already and failed, was cancelled or gave way to a person's choice stays as it is.
    """
    if known is not None and (known.number > deploy.number or known.status is Status.LIVE):
        return False
    if known is not None and known.status is Status.SUPERSEDED:
        return True
    return head != (await store.known_head(deploy.app)).seen
