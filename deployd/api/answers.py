"""The answers of the API.

Times are ISO 8601 in UTC. The command line reads answers with the same models. No I/O here.
"""

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from deployd.domain import Deploy, Image, Moment, StepStatus, Verdict
from deployd.goal import TriggerKind
from deployd.status import Status


class Answer(BaseModel):
    """Base of all answers, made from domain values or from JSON. Unknown fields are ignored: a newer daemon may send more."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


class TriggerAnswer(Answer):
    """Who asked for a deploy."""

    kind: TriggerKind
    delivery: str | None = None
    by: str | None = None


class StepAnswer(Answer):
    """One recorded step of a deploy. `log_start` and `log_end`: the bytes of the deploy's log at which it begins and ends."""

    name: str
    status: StepStatus
    started_at: datetime
    finished_at: datetime | None = None
    detail: str = ""
    log_start: int | None = None
    log_end: int | None = None


class GateAnswer(Answer):
    """The verdict of a gate, with what it measured and the first rows that differ. `moment`: before the switch, in the canary's
    steps, or after the switch."""

    name: str
    verdict: Verdict
    detail: str = ""
    figures: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    moment: Moment = "before"


class BaseAnswer(Answer):
    """A base image of a build. `digest` is its registry's, or the engine's id of an image that came from none."""

    name: str
    digest: str


class RegisteredAnswer(Answer):
    """A version of a registered model: its location in the registry, and its time of creation in milliseconds since 1970."""

    name: str
    version: str
    source: str = ""
    created: int = 0

    @property
    def short(self) -> str:
        """`iris v3`."""
        return f"{self.name} v{self.version}"


class DeployAnswer(Answer):
    """One deploy. In lists `steps` is empty. `registered` is the version of the registered model that is built in, `model` what
    the release says of its model. `prove`: it was only proven, and never served. `standby`: the release that stands by
    for it, while it is watched."""

    app: str
    number: int
    commit: str
    ref: str
    subject: str
    author: str
    trigger: TriggerAnswer
    status: Status
    superseded_by: int | None = None
    rollback_to: int | None = None
    standby: int | None = None
    reason: str = ""
    hint: str = ""
    created_at: datetime
    started_at: datetime | None = None
    live_at: datetime | None = None
    finished_at: datetime | None = None
    image: str | None = None
    digest: str | None = None
    image_size: int | None = None
    bases: list[BaseAnswer] = []
    rebuild: bool = False
    prove: bool = False
    accept_changes: bool = False
    steps: list[StepAnswer] = []
    gates: list[GateAnswer] = []
    model: dict[str, Any] = {}
    registered: RegisteredAnswer | None = None

    @property
    def name(self) -> str:
        """`iris/42`."""
        return f"{self.app}/{self.number}"

    @classmethod
    def of(cls, deploy: Deploy) -> Self:
        """The answer for a deploy."""
        of_image = {"image", "digest", "bases"}
        known = {name: getattr(deploy, name) for name in cls.model_fields if name not in of_image}
        if (image := deploy.image) is not None:
            known |= {"image": image.full_name, "digest": image.digest, "bases": bases_of(image)}
        return cls.model_validate(known)


def bases_of(image: Image | None) -> list[BaseAnswer]:
    """The base images of an image, as far as they are known."""
    return [BaseAnswer.model_validate(base) for base in image.bases] if image else []


class DeploysAnswer(Answer):
    """A page of history, newest first; `before` asks for the next page, null on the last."""

    deploys: list[DeployAnswer]
    before: int | None = None


class OutcomeAnswer(Answer):
    """The outcome of a delivery for one app: the number of its deploy, or the reason why there is none.

    `ref` and `named` are the ref that the app follows and the commit that the delivery named as its head. `looked_at` is null
    while the remote has still to be asked; `commit` is the head that the look found.
    """

    app: str
    ref: str = ""
    named: str = ""
    looked_at: datetime | None = None
    commit: str | None = None
    deploy: int | None = None
    reason: str = ""


class DeliveryAnswer(Answer):
    """One accepted delivery. `commit` is the commit that it named as the head of `ref` in `repository`. Where it told of several
    refs, these are the first; each app says its own."""

    id: int
    guid: str
    forge: str
    event: str
    received_at: datetime
    repository: str
    ref: str
    commit: str
    apps: list[OutcomeAnswer]


class NotKeptAnswer(Answer):
    """A webhook request that was answered and not stored: refused, or, with status 200, ignored. A refused one has only its
    sender's address `peer`; an ignored one has the other fields, where its event has them."""

    at: datetime
    forge: str
    status: int
    reason: str
    peer: str = ""
    event: str = ""
    guid: str = ""
    repository: str = ""
    ref: str = ""


class DeliveriesAnswer(Answer):
    """A page of deliveries, newest first; `before` asks for the next page, null on the last. `not_kept`, on the first page: the
    last requests that were refused or ignored since deployd started."""

    deliveries: list[DeliveryAnswer]
    before: int | None = None
    not_kept: list[NotKeptAnswer] = []


class DifferenceAnswer(Answer):
    """One fact that differs; null where it is absent."""

    what: str
    before: Any
    after: Any


class DiffAnswer(Answer):
    """Two deploys of one app, and what differs."""

    before: DeployAnswer
    after: DeployAnswer
    differences: list[DifferenceAnswer]


class ReloadAnswer(Answer):
    """The apps of the new config, and the changed keys that take effect only at the next restart of deployd.

    `older_config` are the apps whose live release goes on with an older config, `restarting` those that get the new one by
    themselves.
    """

    apps: list[str]
    needs_restart: list[str] = []
    older_config: list[str] = []
    restarting: list[str] = []


class VersionAnswer(Answer):
    """The daemon's version, and the addresses to start from."""

    name: Literal["deployd"] = "deployd"
    version: str
    apps: str = "/api/v1/apps"
    events: str = "/api/v1/events"
    ready: str = "/readyz"


class PrunedAnswer(Answer):
    """One thing that was removed, or would be. `gone`: the name that deployd gave an image is removed, unless a container uses
    it. `note`: what uses it, or why the image is still there."""

    what: Literal["image", "logs", "build cache"]
    name: str = ""
    size: int = 0
    app: str | None = None
    gone: bool = True
    note: str = ""


class PruneAnswer(Answer):
    """What was removed, or with `dry_run` what would be."""

    dry_run: bool
    pruned: list[PrunedAnswer]


class NotifiedAnswer(Answer):
    """A URL of [notify] that was tried. `url` is its reference in the config; `trouble` is empty where the message was taken."""

    url: str
    trouble: str = ""


class NotifyTestAnswer(Answer):
    """The result of the test message, for each URL."""

    sent: list[NotifiedAnswer]


class AliveAnswer(Answer):
    """The process answers."""

    status: Literal["ok"] = "ok"
