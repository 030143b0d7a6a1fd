"""The endpoint for an app's traffic over time, for each release, with the switches between them."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AfterValidator, WithJsonSchema

from deployd.api.auth import READS
from deployd.api.services import Given, Services
from deployd.api.states import PointAnswer, ServedAnswer, SwitchAnswer, TrafficAnswer
from deployd.config.values import seconds
from deployd.domain import Deploy
from deployd.errors import RequestRefused, Unavailable
from deployd.http.problems import PROBLEMS
from deployd.samples import COARSE, FINE, Sample, summed
from deployd.status import Status

router = APIRouter(prefix="/api/v1/apps", responses=PROBLEMS)

NOT_COUNTED = "nothing is counted: on Kubernetes no gateway of deployd is in the path of the requests"
NOT_YET = "nothing is counted yet: the gateway is asked every ten seconds"

_MOST_SWITCHES = 200


def _last(text: str) -> str:
    if not FINE.seconds <= seconds(text) <= COARSE.kept:
        raise ValueError("samples are kept for 7d, and for 1h in stretches of 10s")
    return text


Last = Annotated[str, AfterValidator(_last), WithJsonSchema({"type": "string", "pattern": "^([0-9]+[smhd])+$"})]


@router.get("/{app}/traffic", dependencies=[READS])
async def traffic(app: str, services: Given, last: Annotated[Last, Query()] = "1h") -> TrafficAnswer:
    """What the gateway counted for the app; `last` says how far back: at most `1h` in stretches of ten seconds, at most `7d` in
    stretches of ten minutes."""
    if services.config.find(app) is None and app not in await services.store.known_apps():
        raise RequestRefused(404, f"there is no app {app}", hint="deployd status shows the apps")
    return await traffic_of(services, app, seconds(last))


async def traffic_of(services: Services, app: str, last: float, step: int | None = None) -> TrafficAnswer:
    """The traffic of an app that is known, in the last seconds; in stretches of `step` seconds, a multiple of those that are
    kept."""
    grain, now = FINE if last <= FINE.kept else COARSE, datetime.now(UTC)
    step = step or grain.seconds
    since = int(now.timestamp() - last) // step * step + step
    answer = {"app": app, "since": _moment(since), "seconds": step}
    configured = services.config.find(app)
    if configured is not None and configured.target != "docker":
        return TrafficAnswer(**answer, not_counted=NOT_COUNTED)
    with suppress(Unavailable):  # the disk refuses: the last minute is missing
        await services.sampler.write()
    samples, seen = await services.store.traffic(app, grain, since)
    switches = switches_of(await services.store.released(app, _MOST_SWITCHES), _moment(since))
    if not seen:
        return TrafficAnswer(**answer, not_counted=NOT_YET, switches=switches)
    return TrafficAnswer(
        **answer,
        points=points_of(step, since, int(now.timestamp()), samples, seen),
        releases=releases_of(samples),
        switches=switches,
    )


def points_of(step: int, since: int, until: int, samples: list[Sample], seen: dict[int, float]) -> list[PointAnswer]:
    """One point for each past stretch of `step` seconds, including those without counts."""
    by_stretch: dict[int, list[Sample]] = {}
    for sample in samples:
        by_stretch.setdefault(sample.at // step * step, []).append(sample)
    covered: dict[int, float] = {}
    for at, length in seen.items():
        covered[at // step * step] = covered.get(at // step * step, 0.0) + length
    last = max([until // step * step - step, *covered])
    return [_point(at, by_stretch.get(at, []), covered.get(at)) for at in range(since, last + 1, step)]


def releases_of(samples: list[Sample]) -> list[ServedAnswer]:
    """The totals of each release, the newest first; the requests that reached no release come last."""
    by_number: dict[int, list[Sample]] = {}
    for sample in samples:
        by_number.setdefault(sample.number, []).append(sample)
    return [_served(number, summed(by_number[number], 0)) for number in sorted(by_number, reverse=True)]


def switches_of(released: list[Deploy], since: datetime) -> list[SwitchAnswer]:
    """The switches since then, oldest first. `released`: the deploys that were live once, newest first."""
    found: list[SwitchAnswer] = []
    for position, deploy in enumerate(released):
        if deploy.live_at is not None:
            found.append(_switch(deploy.live_at, deploy, back=deploy.rollback_to is not None))
        if deploy.status is Status.REVERTED and deploy.finished_at is not None:
            before = next((one for one in released[position + 1 :] if one.status is not Status.REVERTED), None)
            found += [_switch(deploy.finished_at, before, back=True)] if before is not None else []
    return sorted((switch for switch in found if switch.at >= since), key=lambda switch: switch.at)


def _switch(at: datetime, deploy: Deploy, *, back: bool) -> SwitchAnswer:
    return SwitchAnswer(at=at, number=deploy.number, commit=deploy.commit, back=back)


def _point(at: int, samples: list[Sample], seconds_seen: float | None) -> PointAnswer:
    if seconds_seen is None:
        return PointAnswer(at=_moment(at))
    whole = summed(samples, at)
    return PointAnswer(
        at=_moment(at),
        requests=whole.requests,
        errors=whole.errors,
        refused=whole.refused,
        requests_per_second=round(whole.requests / seconds_seen, 3),
        error_rate=whole.error_rate,
        p50_ms=whole.quantile(0.5),
        p95_ms=whole.quantile(0.95),
        releases=sorted({sample.number for sample in samples if sample.number}),
    )


def _served(number: int, whole: Sample) -> ServedAnswer:
    return ServedAnswer(
        number=number or None,
        requests=whole.requests,
        errors=whole.errors,
        refused=whole.refused,
        error_rate=whole.error_rate,
        p50_ms=whole.quantile(0.5),
        p95_ms=whole.quantile(0.95),
    )


def _moment(at: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=at)
