"""The status of a deploy on its way from commit to live, and the table of allowed transitions."""

from collections.abc import Mapping
from enum import StrEnum


class Status(StrEnum):
    """Where a deploy is on its way from commit to live."""

    QUEUED = "queued"
    BUILDING = "building"
    CHECKING = "checking"
    ROLLING_OUT = "rolling_out"
    LIVE = "live"
    RETIRED = "retired"
    REVERTED = "reverted"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"
    PROVEN = "proven"

    @property
    def active(self) -> bool:
        """Whether a lane is working on it."""
        return self in ACTIVE

    @property
    def ended(self) -> bool:
        """Whether no lane will work on it any more. A live one may still be retired or reverted, a retired one live again."""
        return self is not Status.QUEUED and not self.active

    @property
    def predicate(self) -> str:
        """The status as a predicate, such as `is live`, `failed`, `was cancelled`."""
        if self is Status.FAILED:
            return "failed"
        verb = "was" if self in _PASSIVE else "is"
        return f"{verb} {self.value.replace('_', ' ')}"


ACTIVE = frozenset({Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT})
_ENDS = frozenset({Status.FAILED, Status.SUPERSEDED, Status.CANCELLED})
_PASSIVE = frozenset({Status.RETIRED, Status.REVERTED, Status.SUPERSEDED, Status.CANCELLED})

# An active deploy goes back to queued when the daemon stops, one that had not begun stays so. A rollback skips building;
# Kubernetes checks while it rolls out. A deploy that only proves its commit ends as proven, and never rolls out.
TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.QUEUED: ACTIVE | {Status.QUEUED} | _ENDS,
    Status.BUILDING: frozenset({Status.CHECKING, Status.ROLLING_OUT, Status.QUEUED}) | _ENDS,
    Status.CHECKING: frozenset({Status.ROLLING_OUT, Status.PROVEN, Status.QUEUED}) | _ENDS,
    Status.ROLLING_OUT: frozenset({Status.LIVE, Status.QUEUED}) | _ENDS,
    Status.LIVE: frozenset({Status.RETIRED, Status.REVERTED}),
    Status.RETIRED: frozenset({Status.LIVE}),
    Status.REVERTED: frozenset(),
    Status.FAILED: frozenset(),
    Status.SUPERSEDED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.PROVEN: frozenset(),
}

# The two changes of a return: the release that failed its watch, and the one before it. Both at once, or neither.
RETURN: Mapping[Status, Status] = {Status.LIVE: Status.REVERTED, Status.RETIRED: Status.LIVE}


def can_become(now: Status, then: Status) -> bool:
    """Whether a deploy that is `now` may become `then`."""
    return then in TRANSITIONS[now]
