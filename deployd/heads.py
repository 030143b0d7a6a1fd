"""The repair of missed hooks: at start and every so often, branch heads are compared with what is deployed.

One `ls-remote` serves all apps of a repository. A head is asked for once: what failed or was cancelled is not tried again
until the branch moves or somebody asks.
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping

from deployd.config.app import App
from deployd.domain import Trigger, Wanted
from deployd.errors import DeploydError, Unavailable
from deployd.metrics import HEAD_LAG
from deployd.ports import Source
from deployd.store.store import Store

logger = logging.getLogger(__name__)

_JITTER = 0.1
_MAX_BACKOFF = 16
_NUMBER = re.compile(r"(\d+)")


class Heads:
    """Watches the remotes of all apps. `ask` takes what is wanted and queues it."""

    def __init__(self, store: Store, source: Source, ask: Callable[[Wanted], Awaitable[object]]) -> None:
        self._store = store
        self._source = source
        self._ask = ask
        self._behind_since: dict[str, float] = {}

    async def watch(self, apps: Callable[[], tuple[App, ...]], every: Callable[[], float]) -> None:
        """Poll for ever; `every` is in seconds, 0 polls at start only. A repository that fails is asked less often."""
        failures: dict[str, int] = {}
        due: dict[str, float] = {}
        while True:
            now = time.monotonic()
            for repo in sorted({app.repo for app in apps() if due.get(app.repo, 0.0) <= now}):
                well = await self._poll([app for app in apps() if app.repo == repo])
                failures[repo] = 0 if well else failures.get(repo, 0) + 1
                due[repo] = time.monotonic() + self._pause(every(), failures[repo])
            await asyncio.sleep(self._pause(every(), 0) if every() else 60.0)

    async def look(self, app: App) -> bool:
        """Compare one app's head with what is deployed; whether something new was queued. Raises Unavailable."""
        heads = await self._source.heads(app)
        if (found := wanted_head(heads)) is None:
            return False
        ref, head = found
        state = await self._store.state(app.name)
        seen = await self._store.seen_commit(app.name)
        self._note_lag(app.name, behind=state.live is None or state.live.commit != head)
        if head == seen or (seen is None and state.live is not None and state.live.commit == head):
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

    @staticmethod
    def _pause(every: float, failures: int) -> float:
        """Seconds to the next question: jittered, so that many daemons do not ask at once, and longer after failures."""
        spread = every * _JITTER
        wait = every + random.uniform(-spread, spread)  # noqa: S311 - no secret
        return float(wait * min(2**failures, _MAX_BACKOFF))


def wanted_head(heads: Mapping[str, str]) -> tuple[str, str] | None:
    """The ref and commit to serve of all that an app watches: its branch, or of several tags the highest version."""
    if not heads:
        return None
    ref = max(heads, key=_version)
    return ref, heads[ref]


def _version(ref: str) -> list[tuple[int, int, str]]:
    """`v1.10` after `v1.9`: numbers as numbers, the rest as text, and `v2.0-rc1` before `v2.0`."""
    parts = [(2, int(part), "") if part.isdigit() else (1, 0, part) for part in _NUMBER.split(ref) if part]
    return [(0, 0, part[2]) if part[2].startswith("-") else part for part in parts] + [(1, 0, "")]
