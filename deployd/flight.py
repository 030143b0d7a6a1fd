"""A deploy in flight, and the status that the end of its task gives it. Pure apart from the cancellation.

The origin of a cancellation is recorded here, never read from the exception.
"""

import asyncio
from dataclasses import dataclass
from typing import Literal

from deployd.domain import Deploy
from deployd.errors import ConfigError, DeploydError, Unavailable
from deployd.status import Status
from deployd.tasks import cancel_once
from deployd.wording import by_hand

Asker = Literal["newer", "stop", "hand"]
_WEAKEST_FIRST: tuple[Asker, ...] = ("newer", "stop", "hand")


@dataclass(slots=True)
class Flight:
    """One deploy, its task, and who asked to stop it: a newer deploy, the daemon's shutdown, or the person `by`."""

    deploy: Deploy
    task: asyncio.Task[None]
    asked: Asker | None = None
    by: str | None = None

    def stop(self, asked: Asker, by: str | None = None) -> None:
        """Cancel the task, once. If several ask, a person's name is recorded before the daemon's shutdown, and that before a
        newer deploy."""
        self.by = self.by or by
        self.asked = max(self.asked or asked, asked, key=_WEAKEST_FIRST.index)
        cancel_once(self.task)

    def error(self) -> BaseException | None:
        """The error of the ended task; None when it raised none, or was cancelled."""
        return None if self.task.cancelled() else self.task.exception()


@dataclass(frozen=True, slots=True)
class Ending:
    """What a deploy becomes. `config_fault`: it failed for the config, not for its commit. `retry`: it is tried again after a
    while."""

    status: Status
    reason: str = ""
    hint: str = ""
    superseded_by: int | None = None
    config_fault: bool = False
    retry: bool = False


def ending(
    deploy: Deploy, error: BaseException | None, asked: Asker | None, newest_queued: int, by: str | None = None
) -> Ending | None:
    """How `deploy` (as it is recorded now) ends; None when nothing is to be recorded any more.

    `error` is what its task raised (None: nothing, or it was cancelled), `newest_queued` the highest number that waits, or 0;
    `by` the person who asked to stop it.
    """
    if deploy.status.ended:
        return None
    if asked == "hand" and (error is None or isinstance(error, Unavailable)):
        return Ending(Status.CANCELLED, by_hand("cancelled", by))
    if isinstance(error, Unavailable):
        return Ending(Status.QUEUED, error.message, error.hint, retry=True)
    if isinstance(error, DeploydError):
        return Ending(Status.FAILED, error.message, error.hint, config_fault=isinstance(error, ConfigError))
    if error is not None:
        return Ending(Status.FAILED, f"a bug in deployd: {error!r}", "the daemon's log has the traceback")
    return _stopped(deploy, asked, newest_queued)


def _stopped(deploy: Deploy, asked: Asker | None, newest_queued: int) -> Ending:
    if asked == "stop":
        return Ending(Status.QUEUED, "deployd was stopped")
    if deploy.prove:
        first = f"{deploy.app}/{newest_queued} goes first"
        return Ending(Status.QUEUED, first if newest_queued else "stopped to let another deploy go first")
    if newest_queued > deploy.number:
        reason = f"a newer deploy came: {deploy.app}/{newest_queued}"
        return Ending(Status.SUPERSEDED, reason, superseded_by=newest_queued)
    return Ending(Status.QUEUED, "the newer deploy was cancelled")
