"""The values that all other modules share.

Plain frozen data without behaviour that reaches outside: no clock, no files, no network. msgspec makes one in a tenth of a
frozen dataclass's 5 µs, and a push makes six.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct, field

from deployd.act import Act
from deployd.goal import Goal, ModelVersion, Trigger, Wanted
from deployd.status import Status


class Base(Struct, frozen=True):
    """A base image of a build, by the name in its Dockerfile. `digest` is the registry's, or the engine's id of an image that
    came from none."""

    name: str
    digest: str


class Image(Struct, frozen=True):
    """A built image. `id` is the engine's content id; `digest` (`sha256:...`) is what the registry says, once pushed."""

    name: str
    tag: str
    id: str
    digest: str | None = None
    bases: tuple[Base, ...] = ()

    @property
    def full_name(self) -> str:
        """The name that this instance gave it, with its tag: `deployd/production/iris:0f3c…-5d1f0a3b`."""
        return f"{self.name}:{self.tag}"

    @property
    def reference(self) -> str:
        """The image's name for an engine or a cluster: with its digest when there is one."""
        return f"{self.name}@{self.digest}" if self.digest else self.full_name


class Build(Struct, frozen=True):
    """A build that this instance began, for deploy `number`: the image's `name` (with its tag), and the image once it is built.

    `pulled_at`: when its base images were pulled last, if they ever were.
    """

    id: int
    app: str
    number: int
    commit: str
    name: str
    began_at: datetime
    pulled_at: datetime | None = None
    image: Image | None = None


class Kept(Struct, frozen=True):
    """Images that pruning never removes: those in `images`, and all of the `commits` that are queued or in flight and may reuse
    one."""

    images: Sequence[Image] = ()
    commits: frozenset[str] = frozenset()

    def holds(self, build: Build) -> bool:
        """Whether the image of this build must stay."""
        found = build.image
        return build.commit in self.commits or (
            found is not None and any(image.id == found.id for image in self.images)
        )


StepStatus = Literal["running", "done", "failed", "cancelled"]
Verdict = Literal["passed", "warned", "failed", "not_judged"]
Moment = Literal["before", "canary", "after"]


class Step(Struct, frozen=True):
    """One recorded stretch of a deploy: fetch, build, push, candidate, ready, golden, cut-over, drain, prune.

    On Kubernetes also apply, rollout, bake, revert. `detail` says how far it has come, such as "2 of 4 updated". `log_start` and
    `log_end`: the bytes of the deploy's log at which it begins and ends, as far as they are known.
    """

    name: str
    status: StepStatus
    started_at: datetime
    finished_at: datetime | None = None
    detail: str = ""
    log_start: int | None = None
    log_end: int | None = None


class GateResult(Struct, frozen=True):
    """The verdict of one gate on a candidate, or on a release after its switch.

    `figures`: what was measured and the limits, by name, such as {"accuracy": 0.94, "n": 300}. `rows`: the first cases that
    differ, each with what was got and expected. `moment`: before the switch, in the canary's steps, or after the switch.
    `not_judged`: too little was seen for a verdict, or what measures failed.
    """

    name: str
    verdict: Verdict
    detail: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[Mapping[str, Any], ...] = ()
    moment: Moment = "before"


class Deploy(Struct, frozen=True):
    """One commit on its way to one app. Known as `app/number`; numbers of an app grow and are never used again.

    `prove`: it is built and asked all gates, and never serves. `config_fault`: it failed for the config, not for its commit.
    `config` and `settings` are digests: of what its release was made from beside the image, and of all that was configured for
    the app. Those and `image_size` (in bytes) are None where an older deployd made it. `accept_changes`: other predictions than
    those of the live release are expected.

    `registered` is the version of the registered model that is built in; `model` is what the release says of its model itself.

    `standby`: while it is live and watched, the release that the traffic can return to; `returning`: why it does, from the
    verdict until the return is recorded.
    """

    app: str
    number: int
    commit: str
    ref: str
    trigger: Trigger
    status: Status
    created_at: datetime
    subject: str = ""
    author: str = ""
    target: str = "docker"
    rollback_to: int | None = None
    rebuild: bool = False
    prove: bool = False
    accept_changes: bool = False
    superseded_by: int | None = None
    reason: str = ""
    hint: str = ""
    config_fault: bool = False
    config: str | None = None
    settings: str | None = None
    standby: int | None = None
    returning: str = ""
    started_at: datetime | None = None
    live_at: datetime | None = None
    finished_at: datetime | None = None
    image: Image | None = None
    image_size: int | None = None
    steps: tuple[Step, ...] = ()
    gates: tuple[GateResult, ...] = ()
    model: Mapping[str, Any] = field(default_factory=dict)
    registered: ModelVersion | None = None

    @property
    def name(self) -> str:
        """`iris/42`."""
        return f"{self.app}/{self.number}"

    @property
    def goal(self) -> Goal:
        """The deploy's goal: its commit and its version of the registered model."""
        return Goal(self.commit, self.registered)

    def again(self, *, trigger: Trigger, target: str, rollback_to: int | None = None) -> Wanted:
        """The same goal, wanted once more."""
        return Wanted(
            app=self.app,
            commit=self.commit,
            ref=self.ref,
            trigger=trigger,
            subject=self.subject,
            author=self.author,
            target=target,
            rollback_to=rollback_to,
            registered=self.registered,
        )


def model_version(model: Mapping[str, Any]) -> str:
    """The model's version in a release's own report, at the top level or below `model`; empty when it reports none."""
    inner = model.get("model")
    found = model.get("version") or (inner.get("version") if isinstance(inner, Mapping) else None)
    return str(found) if found is not None else ""


HealthState = Literal["ok", "unready", "down", "unknown"]


class Health(Struct, frozen=True):
    """How a live release is, as its target sees it.

    `down`: what runs differs from what should serve, and is repaired. `unready`: it runs as it should and does not answer well;
    that is only told. `unknown`: the target cannot be asked. `detail` says what is wrong, `since` when that was first seen.
    """

    state: HealthState = "ok"
    detail: str = ""
    since: datetime | None = None


class AppState(Struct, frozen=True):
    """The stored state of an app.

    `paused_by`, `paused_at`: who paused it, and when, as far as that is known.
    `live_since`: since when `live` serves; later than when it went live if it has returned. `wanted` is the head that was wanted
    last, since `wanted_at`. When it does not serve and nothing waits or is in flight, the app is held: `held_reason` says why.
    `owed_since`: since when a delivery owes it a look. `failed`: the newest deploy, when it failed or was reverted. `at_rest`:
    nothing that could change what serves is in flight or waits; a deploy that only proves its commit may be.
    `acts`: the last that people did to it beside deploys, the newest first.
    """

    app: str
    paused: bool = False
    paused_by: str | None = None
    paused_at: datetime | None = None
    live: Deploy | None = None
    live_since: datetime | None = None
    in_flight: Deploy | None = None
    queued: int = 0
    at_rest: bool = True
    wanted: Goal | None = None
    wanted_at: datetime | None = None
    held_reason: str = ""
    owed_since: datetime | None = None
    failed: Deploy | None = None
    acts: tuple[Act, ...] = ()

    @property
    def held_commit(self) -> str | None:
        """The commit that is held: it is not deployed automatically."""
        return self.held.commit if self.held is not None else None

    @property
    def held(self) -> Goal | None:
        """The goal that is held: it is not deployed automatically."""
        return self.wanted if self.held_reason else None

    def behind_since(self) -> datetime | None:
        """Since when the app has not served what its remote wants, as far as that is known; None when it does."""
        since = [] if self.owed_since is None else [self.owed_since]
        if self.wanted_at is not None and (self.live is None or self.live.goal != self.wanted):
            went_live = self.live.live_at if self.live is not None else None
            since.append(max(self.wanted_at, went_live) if self.held_reason and went_live else self.wanted_at)
        return min(since, default=None)


class Event(Struct, frozen=True):
    """Something that happened, in order of `id`: kind is deploy.status, step, gate, look, trouble, health, app or
    config."""

    id: int
    at: datetime
    kind: str
    app: str
    number: int | None
    data: Mapping[str, Any]


def labels(instance: str, app: str, number: int | None = None, goal: Goal | None = None) -> dict[str, str]:
    """The labels that everything deployd creates carries; objects without `io.deployd.instance` are never touched."""
    found = {"io.deployd.instance": instance, "io.deployd.app": app}
    if number is not None:
        found["io.deployd.deploy"] = str(number)
    if goal is not None:
        found["io.deployd.commit"] = goal.commit
    if goal is not None and goal.registered is not None:
        found["io.deployd.model"] = goal.registered.path
    return found


def part_labels(instance: str, part: str) -> dict[str, str]:
    """The labels of what belongs to the daemon itself and to no app: its `gateway`, its `network`."""
    return {"io.deployd.instance": instance, "io.deployd.part": part}
