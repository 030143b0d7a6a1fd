"""How an app is, as the API answers it: what serves, how that is, what waits, and what keeps the newest commit from serving."""

from datetime import datetime
from typing import Any, Literal

from deployd.api.answers import Answer, BaseAnswer, DeployAnswer, RegisteredAnswer, bases_of
from deployd.domain import AppState, HealthState


class LiveAnswer(Answer):
    """The release that serves now."""

    number: int
    commit: str
    image: str | None = None
    bases: list[BaseAnswer] = []
    since: datetime | None = None
    model: dict[str, Any] = {}
    registered: RegisteredAnswer | None = None


class HealthAnswer(Answer):
    """How the live release is: `ok`; `unready` (it runs, but does not answer its ready path); `down` (it does not serve as it
    should, and deployd tries to repair that); `unknown` (the target cannot be asked). `detail` says what is wrong."""

    state: HealthState
    detail: str = ""
    since: datetime | None = None


class WatchedAnswer(Answer):
    """The watch of the live release: until when, and the number of the release that gets the traffic back if it turns bad."""

    until: datetime
    standby: int


class FailedAnswer(Answer):
    """The newest deploy, when it failed, or, `reverted`, was live and failed its watch."""

    number: int
    commit: str
    reason: str
    hint: str = ""
    reverted: bool = False


class HeldAnswer(Answer):
    """The commit, and the version of the registered model, that is not deployed although it was wanted last, and why."""

    commit: str
    registered: RegisteredAnswer | None = None
    reason: str


class OwedAnswer(Answer):
    """A look at the app that is owed, by a delivery or else by the timer: since when, and why. `what` cannot be looked at:
    the remote, or only the registry of the app's model."""

    since: datetime
    reason: str
    what: Literal["remote", "registry"] = "remote"


class RatesAnswer(Answer):
    """The rates of requests to the app in the last `seconds`. `error_rate`: the share without an answer or with 5xx, null without
    requests; `p95_ms` is null where no durations are counted, too."""

    seconds: float
    requests_per_second: float
    error_rate: float | None = None
    p95_ms: float | None = None


class WaitingAnswer(Answer):
    """The head that is not decided upon yet, since when it waits for its checks, and what for."""

    commit: str
    since: datetime
    reason: str


class ActAnswer(Answer):
    """What a person did to the app beside deploys: `paused`, `resumed`, `scaled` (`detail`: to how many pods) or `redelivered`
    (`detail`: the GUID)."""

    at: datetime
    by: str | None = None
    done: str
    detail: str = ""


class AppAnswer(Answer):
    """One app. `configured` is false when the app still serves but is no longer in the config, `older_config` true when its live
    release was made with another config than the present one. `traffic` is null where nobody counts: on Kubernetes, and until
    the gateway was asked twice. `acts`: the last of them, the newest first."""

    name: str
    configured: bool = True
    target: str | None = None
    repo: str | None = None
    branch: str | None = None
    tag: str | None = None
    paused: bool = False
    paused_by: str | None = None
    paused_at: datetime | None = None
    held: HeldAnswer | None = None
    owed: OwedAnswer | None = None
    waiting: WaitingAnswer | None = None
    live: LiveAnswer | None = None
    older_config: bool = False
    health: HealthAnswer | None = None
    watched: WatchedAnswer | None = None
    failed: FailedAnswer | None = None
    in_flight: DeployAnswer | None = None
    queued: int = 0
    traffic: RatesAnswer | None = None
    urls: list[str] = []
    acts: list[ActAnswer] = []


def live_of(state: AppState) -> LiveAnswer | None:
    """The live release of an app's state."""
    if (live := state.live) is None:
        return None
    image, bases = live.image, bases_of(live.image)
    name = image.full_name if image else None
    return LiveAnswer(
        number=live.number,
        commit=live.commit,
        image=name,
        bases=bases,
        since=state.live_since,
        model=dict(live.model),
        registered=RegisteredAnswer.model_validate(live.registered) if live.registered is not None else None,
    )


class AppsAnswer(Answer):
    """Every app."""

    apps: list[AppAnswer]


class DescribeAnswer(Answer):
    """An app, and what its target says about the running containers or pods."""

    app: AppAnswer
    running: dict[str, Any]


class PointAnswer(Answer):
    """One stretch of time. `requests` is null when nobody counted, as while deployd did not run; `errors`: without an answer, or
    with 5xx; `refused`: with 4xx. `releases`: the numbers of the deploys that were asked."""

    at: datetime
    requests: int | None = None
    errors: int | None = None
    refused: int | None = None
    requests_per_second: float | None = None
    error_rate: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    releases: list[int] = []


class ServedAnswer(Answer):
    """The totals of one release in the whole time; `number` is null for requests that reached no release."""

    number: int | None
    requests: int
    errors: int
    refused: int
    error_rate: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None


class SwitchAnswer(Answer):
    """A moment at which the traffic moved to another release. `back`: to one that had served before."""

    at: datetime
    number: int
    commit: str
    back: bool = False


class TrafficAnswer(Answer):
    """The traffic of an app since `since`, in stretches of `seconds`. `not_counted` says why there is nothing to see."""

    app: str
    since: datetime
    seconds: int
    not_counted: str = ""
    points: list[PointAnswer] = []
    releases: list[ServedAnswer] = []
    switches: list[SwitchAnswer] = []


class PlanAnswer(Answer):
    """What deploying a commit would do. `head` is the present head of the watched ref, `registered` the version of the registered
    model that the alias points to, `known` the commit's last deploy."""

    app: AppAnswer
    commit: str
    head: str | None
    known: DeployAnswer | None
    image: str | None
    steps: list[str]
    registered: RegisteredAnswer | None = None
