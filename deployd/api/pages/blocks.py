"""The data for the blocks of an app's page below its deploys: plots, traffic, gates, containers or pods."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import dropwhile
from typing import Any

from deployd.api.pages import plots
from deployd.api.pages.evidence import evidence
from deployd.api.services import Services
from deployd.api.states import ServedAnswer, TrafficAnswer
from deployd.api.traffic import traffic_of
from deployd.domain import AppState, Deploy
from deployd.errors import DeploydError

_SHOWN, _RELEASES = 50, 30
_PATIENCE_SECONDS = 3.0
_FEW = 12


@dataclass(frozen=True, slots=True)
class Range:
    """How far back the traffic is shown, and in stretches of how many seconds."""

    name: str
    told: str
    seconds: int
    step: int


RANGES = (Range("1h", "hour", 3600, 60), Range("1d", "day", 86_400, 1200), Range("7d", "week", 7 * 86_400, 7200))


@dataclass(frozen=True, slots=True)
class Served:
    """The traffic of a release, with the deploy that made it."""

    counted: ServedAnswer
    deploy: Deploy | None


async def blocks(services: Services, state: AppState, now: datetime, wanted: str | None) -> dict[str, Any]:
    """The data for the templates below `app/`; `wanted` is the name of a range."""
    chosen = next((one for one in RANGES if one.name == wanted), RANGES[0])
    app = state.app
    counted = await _traffic(services, app, chosen)
    released = await services.store.released(app, _RELEASES)
    return {
        "durations": plots.durations(await services.store.deploys(app, _SHOWN), now),
        "measured": plots.metrics(released),
        "traffic": counted,
        "traffic_plots": plots.traffic(counted.points, counted.switches),
        "served": _served(counted, released),
        "range": chosen,
        "ranges": RANGES,
        "proofs": [evidence(gate) for gate in state.live.gates] if state.live is not None else [],
        **await _running(services, app),
    }


async def _traffic(services: Services, app: str, chosen: Range) -> TrafficAnswer:
    """The traffic from the first moment on at which anybody counted; in the shortest stretches while there are few of them."""
    counted = _since_the_first(await traffic_of(services, app, chosen.seconds, chosen.step))
    if len(counted.points) < _FEW and chosen == RANGES[0]:
        return _since_the_first(await traffic_of(services, app, chosen.seconds))
    return counted


def _since_the_first(counted: TrafficAnswer) -> TrafficAnswer:
    points = list(dropwhile(lambda point: point.requests is None, counted.points))
    return counted.model_copy(update={"points": points})


def _served(counted: TrafficAnswer, released: Sequence[Deploy]) -> list[Served]:
    known = {deploy.number: deploy for deploy in released}
    return [Served(one, known.get(one.number or 0)) for one in counted.releases]


async def _running(services: Services, name: str) -> Mapping[str, Any]:
    """The running containers or pods, or the reason why the target cannot tell."""
    if (app := services.config.find(name)) is None:
        return {"running": {}, "not_described": "the app is no longer in the config"}
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return {"running": await services.targets[app.target].describe(app), "not_described": ""}
    except DeploydError as exc:
        return {"running": {}, "not_described": exc.message}
    except TimeoutError:
        return {"running": {}, "not_described": f"no answer within {_PATIENCE_SECONDS:.0f} s"}
