"""The heads that wait for their checks, since when and until when. Kept in memory: after a restart a head waits anew."""

import logging
from datetime import UTC, datetime
from typing import NamedTuple

from deployd.config.app import App
from deployd.goal import Head
from deployd.ports.checks import Checks

logger = logging.getLogger(__name__)

# How soon the checks of a head are asked for again: after a tenth of the time that it has waited.
_SOONEST_S = 5.0
_LATEST_S = 60.0


class WaitingHead(NamedTuple):
    """A head that waits for its checks: since when, and for which."""

    commit: str
    since: datetime
    reason: str

    @property
    def age(self) -> float:
        """For how many seconds it waits."""
        return (datetime.now(UTC) - self.since).total_seconds()


class WaitingHeads:
    """The waiting heads of some apps."""

    def __init__(self, checks: Checks | None) -> None:
        """`checks` is there if any app requires them."""
        self._checks = checks
        self._of: dict[str, WaitingHead] = {}

    def of(self, app: str) -> WaitingHead | None:
        """The head of the app that waits; None when none does."""
        return self._of.get(app)

    @property
    def pause(self) -> float | None:
        """The seconds until the checks of some head should be asked for again; None when none waits."""
        return min((min(max(one.age / 10, _SOONEST_S), _LATEST_S) for one in self._of.values()), default=None)

    def over(self, app: str) -> None:
        """Forget the app's waiting head."""
        self._of.pop(app, None)

    async def ask(self, app: App, head: Head) -> WaitingHead | None:
        """Why the head is to wait, and since when; None when its checks are green, or need not be. Changes nothing."""
        if app.require != "checks":
            return None
        assert self._checks is not None  # noqa: S101 - see __init__
        why = await self._checks.why_not_green(app, head.commit)
        return WaitingHead(head.commit, self._since(app, head), why) if why else None

    def keep(self, app: App, head: Head, reason: str) -> None:
        """The head waits, and so does no other of the app."""
        before, now = self._of.get(app.name), WaitingHead(head.commit, self._since(app, head), reason)
        if now != before:
            logger.info("%s: %s waits for its checks: %s", app.name, head.commit[:12], reason)
        self._of[app.name] = now

    def _since(self, app: App, head: Head) -> datetime:
        before = self._of.get(app.name)
        return before.since if before is not None and before.commit == head.commit else datetime.now(UTC)
