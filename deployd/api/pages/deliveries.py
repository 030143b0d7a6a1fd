"""The page of deliveries: each delivery, its answer and its outcome for each app in a sentence, and the refused or ignored
requests."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from deployd.api.auth import Caller
from deployd.api.pages.page import Head, Page, Part
from deployd.api.services import Services
from deployd.delivery import Outcome, Received
from deployd.domain import Deploy
from deployd.forges.configured import sections

PAGE = Page((Part("deliveries/list"), Part("deliveries/dialogs", live=False)))

_SHOWN, _NOT_KEPT = 40, 20


@dataclass(frozen=True, slots=True)
class Came:
    """The outcome of a delivery for one app."""

    app: str
    text: str
    deploy: Deploy | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One delivery."""

    received: Received
    came: Sequence[Came]


async def deliveries_page(request: Request, services: Services, caller: Caller, before: int | None) -> Response:
    """The accepted deliveries below the id `before`, the newest first."""
    found = await services.store.deliveries(_SHOWN, before)
    deploys: dict[tuple[str, int], Deploy | None] = {}
    for outcome in (one for received in found for one in received.outcomes if one.number is not None):
        key = (outcome.app, outcome.number or 0)
        if key not in deploys:
            deploys[key] = await services.store.deploy(*key)
    lines = [Line(received, list(_all(received, services, deploys))) for received in found]
    facts: dict[str, Any] = {
        "lines": lines,
        "not_kept": services.not_kept.latest(_NOT_KEPT) if before is None else (),
        "first": before is None,
        "more": found[-1].id if len(found) == _SHOWN else None,
        "secrets": any(section.secrets for section in sections(services.config).values()),
        "poll": services.config.git.poll_every,
    }
    return PAGE.drawn(request, services, caller, Head("Deliveries"), facts)


def _all(received: Received, services: Services, deploys: dict[tuple[str, int], Deploy | None]) -> Iterator[Came]:
    for outcome in received.outcomes:
        trouble, waiting = services.scheduler.looks.trouble(outcome.app), services.scheduler.looks.waiting(outcome.app)
        deploy = deploys.get((outcome.app, outcome.number or 0))
        if outcome.looked_at is None and waiting is not None:
            what = f"not deployed yet: {waiting.commit[:8]} waits for its checks: {waiting.reason}"
            yield Came(outcome.app, what)
        else:
            yield came_of(
                outcome, received.push_for(outcome.app).commit, deploy, trouble.reason if trouble is not None else ""
            )


def came_of(outcome: Outcome, named: str, deploy: Deploy | None, trouble: str) -> Came:
    """The outcome of a delivery for one app, as a sentence that says why a push was not deployed. `named`: the commit that the
    delivery named for it; `trouble`: why the remote or the model's registry cannot be looked at."""
    app = outcome.app
    if outcome.looked_at is None:
        why = f": {trouble}" if trouble else ", and soon will be"
        return Came(app, f"not looked at yet{why}")
    other = outcome.commit is not None and outcome.commit != named and named.strip("0")
    newer = f" (the remote showed {outcome.commit[:8]} by then)" if other and outcome.commit else ""
    if deploy is None:
        return Came(app, f"not deployed: {outcome.reason or 'nothing had changed'}{newer}")
    how = f"{deploy.name} {deploy.status.predicate}"
    why = f": {deploy.reason}" if deploy.reason else ""
    return Came(app, f"{how}{newer}{why}", deploy)
