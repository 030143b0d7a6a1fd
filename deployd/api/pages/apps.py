"""The page of an app: its live release, the buttons, and its deploys as a timeline of steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from deployd.api.auth import Caller
from deployd.api.deploys import app_answer, must_be_known
from deployd.api.pages import bars, words
from deployd.api.pages.blocks import blocks
from deployd.api.pages.home import all_remarks
from deployd.api.pages.page import Head, Page, Part
from deployd.api.services import Services
from deployd.domain import Deploy, Step

PAGE = Page(
    (
        Part("app/standing"),
        Part("app/dialogs", live=False),
        Part("app/timeline"),
        Part("app/traffic", script="plots.js"),
        Part("app/models", script="plots.js"),
        Part("app/gates"),
        Part("app/durations", script="plots.js"),
        Part("app/running"),
        Part("app/output", live=False, script="output.js"),
    )
)

_SHOWN, _RELEASES = 25, 20


@dataclass(frozen=True, slots=True)
class Line:
    """One deploy in the timeline. `longest`: the step that took more than half of it; `replaced`: the numbers of those that it
    superseded."""

    deploy: Deploy
    bars: Sequence[bars.Bar]
    told: str
    longest: str
    replaced: Sequence[int]


async def app_page(request: Request, services: Services, caller: Caller, name: str, before: int | None) -> Response:
    """One app; its deploys below the number `before`, the newest first."""
    await must_be_known(services, name)
    state, now = await services.store.state(name), datetime.now(UTC)
    answer = app_answer(services, state)
    deploys = await services.store.deploys(name, _SHOWN, before)
    wanted = {deploy.number for deploy in deploys} | ({state.in_flight.number} if state.in_flight else set())
    steps = await services.store.steps_of(name, wanted)
    usual = (await services.store.usual([name]))[name]
    remarks = await all_remarks(services, answer, now)
    moving = steps.get(state.in_flight.number, ()) if state.in_flight else ()
    more = deploys[-1].number if len(deploys) == _SHOWN and deploys[-1].number > 1 else None
    configured = services.config.find(name) is not None
    facts: dict[str, Any] = {
        "configured": configured,
        "app": answer,
        "state": state,
        "remarks": remarks,
        "progress": bars.progress(moving, usual, now),
        "usual": sum(usual.values()),
        "lines": timeline(deploys, steps, now),
        "first": before is None,
        "more": more,
        "releases": [one for one in await services.store.released(name, _RELEASES) if one.image is not None],
        **await blocks(services, state, now, request.query_params.get("traffic")),
        "replicas": services.config.find(name) is not None and answer.target == "kubernetes",
    }
    tone = words.worst(
        [remark.tone for remark in remarks] + ["run"] * bool(state.in_flight) + ["ok"] * bool(state.live)
    )
    return PAGE.drawn(
        request, services, caller, Head(name, tone, f"?app={name}" + (f"&output={name}" if configured else "")), facts
    )


def timeline(deploys: Sequence[Deploy], steps: Mapping[int, Sequence[Step]], now: datetime) -> list[Line]:
    """The deploys with their steps, on one scale so that a slow one is seen, and the deploys that each superseded."""
    replaced: dict[int, list[int]] = {}
    for deploy in deploys:
        if deploy.superseded_by is not None:
            replaced.setdefault(deploy.superseded_by, []).append(deploy.number)
    lengths = [length for deploy in deploys if (length := _length(steps.get(deploy.number, ()), now))]
    whole = max(lengths, default=0.0)
    found = []
    for deploy in deploys:
        drawn = bars.step_bars(steps.get(deploy.number, ()), whole, now)
        told = ", ".join(bar.told for bar in drawn)
        longest = _longest(steps.get(deploy.number, ()), now) if deploy.started_at is not None else ""
        found.append(Line(deploy, drawn, told, longest, replaced.get(deploy.number, [])))
    return found


def _longest(steps: Sequence[Step], now: datetime) -> str:
    lengths = {step.name: words.step_lasted(step, now) for step in steps}
    name = max(lengths, key=lambda one: lengths[one], default="")
    return name if len(lengths) > 1 and lengths[name] > sum(lengths.values()) / 2 else ""


def _length(steps: Sequence[Step], now: datetime) -> float:
    if not steps:
        return 0.0
    return max((step.finished_at or now) - steps[0].started_at for step in steps).total_seconds()
