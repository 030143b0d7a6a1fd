"""Sends what the outbox holds for one reporter: one report after the other, in the order in which things happened.

Nothing waits for it. What the other side does not take now is tried again; what it refuses is logged once and waits for a person,
or is given up, so that one app's trouble holds up no other app.
"""

import asyncio
import logging
import time
from contextlib import suppress

from deployd.backoff import Backoff
from deployd.errors import Unavailable
from deployd.events import Events
from deployd.metrics import REPORTS
from deployd.reporters.reporter import Later, Refused, Reporter
from deployd.store.outbox import Report
from deployd.store.store import Store
from deployd.wording import counted

logger = logging.getLogger(__name__)

_DELAYS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_LIMITED_DELAYS = (60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0)  # as GitHub asks for
_REFUSED_SECONDS = 900.0
_SWEEP_SECONDS = 60.0
_JITTER = 0.1
_OF_INTEREST = frozenset({"deploy.status", "app", "report"})


class Sender:
    """Works for one reporter until it is cancelled."""

    def __init__(self, reporter: Reporter, store: Store, events: Events) -> None:
        self.reporter = reporter
        self._away = ""  # why nothing can be told now
        self._store = store
        self._events = events
        self._backoff = Backoff(_DELAYS, jitter=_JITTER)
        self._limited = Backoff(_LIMITED_DELAYS)
        self._refused: dict[str, str] = {}  # by app, or "" for all: why
        self._swept_at = float("-inf")
        for outcome in ("told", "given_up"):  # a series that is born at 1 shows no increase
            REPORTS.labels(reporter.name, outcome)

    @property
    def trouble(self) -> str:
        """Why something cannot be told now; empty when nothing is known to be wrong."""
        return self._away or next(iter(self._refused.values()), "")

    async def serve(self) -> None:
        """Send, and wait for more."""
        try:
            while True:
                seen = self._events.latest
                try:
                    pause, only_time = await self.step()
                except Unavailable as exc:  # the store
                    logger.warning("Cannot read what is to be reported: %s (%s)", exc, exc.hint)
                    pause, only_time = self._backoff.fail(), True
                if only_time:
                    await asyncio.sleep(pause or 0.0)
                else:
                    await self._until_something_happens(seen, pause)
        finally:
            await self.reporter.close()

    async def step(self) -> tuple[float | None, bool]:
        """Send one report. The seconds until the next step, None for no limit, and whether nothing but time ends that wait."""
        name = self.reporter.name
        await self._sweep()
        report, wait = await self._store.next_report(name)
        if report is None:
            return wait, False
        await self._store.begin_report(report)
        try:
            told = await self.reporter.tell(report)
        except Later as exc:
            return self._later(exc), True
        except Unavailable as exc:
            return self._later(Later(exc.message, hint=exc.hint)), True
        except Refused as exc:
            return await self._refusal(report, exc)
        await self._store.end_report(report, told.remote, told.said)
        if told.said:
            REPORTS.labels(name, "told").inc()
        self._refused.pop(report.app, None)
        self._refused.pop("", None)
        self._away = ""
        self._backoff.reset()
        self._limited.reset()
        return 0.0, True

    async def _sweep(self) -> None:
        """Now and then, give up what is too old or too much."""
        if time.monotonic() - self._swept_at < _SWEEP_SECONDS:
            return
        self._swept_at = time.monotonic()
        name = self.reporter.name
        if gone := await self._store.drop_reports(name, self.reporter.patience):
            logger.warning("Gave up %s for %s: too old, or too many", counted(gone, "report"), name)
            REPORTS.labels(name, "given_up").inc(gone)

    def _later(self, exc: Later) -> float:
        pause = (self._limited if exc.limited else self._backoff).fail()
        if exc.seconds is not None:
            pause = exc.seconds
        if exc.message != self._away:
            hint = f" ({exc.hint})" if exc.hint else ""
            logger.warning("Cannot report to %s: %s%s; trying again in %.0f s", self.reporter.name, exc, hint, pause)
        self._away = exc.message
        return pause

    async def _refusal(self, report: Report, exc: Refused) -> tuple[float | None, bool]:
        key = "" if exc.everything else report.app
        if exc.forever or key not in self._refused:
            hint = f" ({exc.hint})" if exc.hint else ""
            end = "it is given up" if exc.forever else "it waits until that is corrected"
            logger.error("%s refuses the report of %s: %s%s; %s", self.reporter.name, report.app, exc, hint, end)
        if exc.forever:
            await self._store.end_report(report)
            REPORTS.labels(self.reporter.name, "given_up").inc()
            return 0.0, True
        self._refused[key] = exc.message
        if exc.everything:
            return _REFUSED_SECONDS, True
        await self._store.postpone_reports(self.reporter.name, report.app, _REFUSED_SECONDS)
        return 0.0, True

    async def _until_something_happens(self, seen: int, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for event in self._events.watch(after=seen):
                    if event.kind in _OF_INTEREST or event.kind == "reset":
                        return
