"""The values that everything else speaks of, and the table of what a deploy may become.

Plain frozen data without behaviour that reaches outside: no clock, no files, no network. msgspec makes one in a tenth of a
frozen dataclass's 5 µs, and a push makes six.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from msgspec import Struct, field


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

    @property
    def active(self) -> bool:
        """A lane is working on it."""
        return self in ACTIVE

    @property
    def ended(self) -> bool:
        """Nothing will change it any more, but a live one may still be retired or reverted."""
        return not TRANSITIONS[self] or self is Status.LIVE


ACTIVE = frozenset({Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT})
_ENDS = frozenset({Status.FAILED, Status.SUPERSEDED, Status.CANCELLED})

# An active deploy goes back to queued when the daemon stops. A rollback skips building; Kubernetes checks while it rolls out.
TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.QUEUED: ACTIVE | _ENDS,
    Status.BUILDING: frozenset({Status.CHECKING, Status.ROLLING_OUT, Status.QUEUED}) | _ENDS,
    Status.CHECKING: frozenset({Status.ROLLING_OUT, Status.QUEUED}) | _ENDS,
    Status.ROLLING_OUT: frozenset({Status.LIVE, Status.QUEUED}) | _ENDS,
    Status.LIVE: frozenset({Status.RETIRED, Status.REVERTED}),
    Status.RETIRED: frozenset(),
    Status.REVERTED: frozenset(),
    Status.FAILED: frozenset(),
    Status.SUPERSEDED: frozenset(),
    Status.CANCELLED: frozenset(),
}


def can_become(now: Status, then: Status) -> bool:
    """Whether a deploy that is `now` may become `then`."""
    return then in TRANSITIONS[now]


class Push(Struct, frozen=True):
    """One parsed push event: the ref of the repository has moved to `commit`, or was deleted.

    `repository` is its host and full path in lower case (`github.com/acme/iris`), `ref` is full (`refs/heads/main`). A hint:
    what is deployed is read from the repository itself.
    """

    repository: str
    ref: str
    commit: str
    deleted: bool = False


class Ping(Struct, frozen=True):
    """The forge asks whether we are there."""


class Ignored(Struct, frozen=True):
    """A genuine event that deploys nothing, and why."""

    reason: str


class Delivery(Struct, frozen=True):
    """One webhook POST, known by its forge's GUID."""

    forge: str
    guid: str
    event: str


TriggerKind = Literal["push", "poll", "manual", "rollback"]


class Trigger(Struct, frozen=True):
    """Who asked for a deploy: a delivery's GUID, the poll, or a person by name."""

    kind: TriggerKind
    delivery: str | None = None
    by: str | None = None


class Wanted(Struct, frozen=True):
    """A commit that an app should serve, as a push, the poll or a person asked for it; the store makes a Deploy of it.

    A `declined` one is a head that the app does not want (nothing of it was touched, or it asks to be skipped): the store
    remembers that, or the poll would take it for a push whose hook was missed. `before` is the head that it was pushed onto.
    """

    app: str
    commit: str
    ref: str
    trigger: Trigger
    subject: str = ""
    author: str = ""
    rollback_to: int | None = None
    before: str = ""
    declined: bool = False


class Image(Struct, frozen=True):
    """A built image. `id` is the engine's content id; `digest` (`sha256:...`) is what the registry says, once pushed."""

    name: str
    tag: str
    id: str
    digest: str | None = None

    @property
    def reference(self) -> str:
        """What an engine or a cluster is asked to run: by digest when there is one."""
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"


class Kept(Struct, frozen=True):
    """Images that stay whatever the limits say: `images`, and all under the tag of one of `commits`, which wait or are in
    flight and may take up what was built before."""

    images: Sequence[Image] = ()
    commits: frozenset[str] = frozenset()

    def holds(self, image_id: str, names: Collection[str]) -> bool:
        """Whether an image with that content id and those names (`name:tag`) stays."""
        return any(image.id == image_id or f"{image.name}:{image.tag}" in names for image in self.images) or any(
            name.rpartition(":")[2] in self.commits for name in names
        )


StepStatus = Literal["running", "done", "failed", "cancelled"]
Verdict = Literal["passed", "warned", "failed"]


class Step(Struct, frozen=True):
    """One recorded stretch of a deploy: fetch, build, push, candidate, ready, golden, cut-over, drain, prune.

    On Kubernetes also apply, rollout, bake, back. `detail` says how far it has come, such as "2 of 4 updated".
    """

    name: str
    status: StepStatus
    started_at: datetime
    finished_at: datetime | None = None
    detail: str = ""


class GateResult(Struct, frozen=True):
    """What one gate said of a candidate."""

    name: str
    verdict: Verdict
    detail: str = ""


class Deploy(Struct, frozen=True):
    """One commit on its way to one app. Known as `app/number`; numbers of an app grow and are never used again."""

    app: str
    number: int
    commit: str
    ref: str
    trigger: Trigger
    status: Status
    created_at: datetime
    subject: str = ""
    author: str = ""
    rollback_to: int | None = None
    superseded_by: int | None = None
    reason: str = ""
    hint: str = ""
    started_at: datetime | None = None
    live_at: datetime | None = None
    finished_at: datetime | None = None
    image: Image | None = None
    steps: tuple[Step, ...] = ()
    gates: tuple[GateResult, ...] = ()
    model: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`iris/42`."""
        return f"{self.app}/{self.number}"


class Accepted(NamedTuple):
    """What came of a delivery: all its deploys, and those of them that are new."""

    deploys: list[Deploy]
    new: list[Deploy]


class AppState(Struct, frozen=True):
    """What is remembered of an app beside its config: paused by hand; held at its release after `held_commit` failed."""

    app: str
    paused: bool = False
    held_commit: str | None = None
    held_reason: str = ""
    live: Deploy | None = None
    in_flight: Deploy | None = None
    queued: int = 0


class Event(Struct, frozen=True):
    """Something that happened, in order of `id`: kind is deploy.status, step, gate or app."""

    id: int
    at: datetime
    kind: str
    app: str
    number: int | None
    data: Mapping[str, Any]


def labels(instance: str, app: str, number: int | None = None, commit: str | None = None) -> dict[str, str]:
    """The labels that everything deployd creates carries; what lacks `io.deployd.instance` is never touched."""
    found = {"io.deployd.instance": instance, "io.deployd.app": app}
    if number is not None:
        found["io.deployd.deploy"] = str(number)
    if commit is not None:
        found["io.deployd.commit"] = commit
    return found


def part_labels(instance: str, part: str) -> dict[str, str]:
    """The labels of what belongs to the daemon itself and to no app: its `gateway`, its `network`."""
    return {"io.deployd.instance": instance, "io.deployd.part": part}
