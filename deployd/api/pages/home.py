"""The first page: what needs a person's attention, then each app with its live release and its deploy in flight."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from deployd.api.auth import Caller
from deployd.api.deploys import app_answer, shown_apps
from deployd.api.pages import bars, words
from deployd.api.pages.page import Head, Page, Part
from deployd.api.services import Services
from deployd.api.states import AppAnswer
from deployd.domain import AppState, Step
from deployd.store.deploys import Brief

PAGE = Page((Part("home/attention"), Part("home/apps")))


@dataclass(frozen=True, slots=True)
class Row:
    """One app on the page."""

    app: AppAnswer
    state: AppState
    behind: timedelta | None
    progress: bars.Progress | None
    bars: Sequence[bars.Bar]


async def home(request: Request, services: Services, caller: Caller) -> Response:
    """The page of all apps."""
    states = await shown_apps(services)
    names = [state.app for state in states]
    brief = await services.store.in_brief(names)
    moving = [state.in_flight for state in states if state.in_flight is not None]
    usual = await services.store.usual({deploy.app for deploy in moving})
    steps = {
        deploy.app: (await services.store.steps_of(deploy.app, [deploy.number]))[deploy.number] for deploy in moving
    }
    now = datetime.now(UTC)
    rows = [row(app_answer(services, state), state, brief, steps, usual, now) for state in states]
    remarks = [remark for one in rows for remark in await all_remarks(services, one.app, now)]
    tone = words.worst(
        [remark.tone for remark in remarks] + ["run"] * bool(moving) + ["ok"] * any(r.app.live for r in rows)
    )
    facts: dict[str, Any] = {"rows": rows, "remarks": remarks}
    return PAGE.drawn(request, services, caller, Head("Apps", tone), facts)


async def all_remarks(services: Services, app: AppAnswer, now: datetime) -> list[words.Remark]:
    """All remarks about an app, with the reason why its newest deploy waits."""
    found = list(words.remarks(app, now))
    newest = await services.store.newest_to_serve(app.name) if app.queued and not app.paused else None
    waits = words.why_queued(newest) if newest is not None else None
    return found if waits is None else [*found, waits]


def row(
    app: AppAnswer,
    state: AppState,
    brief: Mapping[str, Sequence[Brief]],
    steps: Mapping[str, Sequence[Step]],
    usual: Mapping[str, Mapping[str, float]],
    now: datetime,
) -> Row:
    """The row of one app."""
    since = state.behind_since()
    return Row(
        app,
        state,
        now - since if since is not None else None,
        bars.progress(steps.get(app.name, ()), usual.get(app.name, {}), now),
        bars.last_deploys(brief.get(app.name, ())),
    )
