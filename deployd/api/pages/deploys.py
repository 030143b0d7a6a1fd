"""The page of a deploy: why it ended as it did, its steps, what the gates found, its model, and what differs from before."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from deployd.api.auth import Caller
from deployd.api.deploys import deploy_of
from deployd.api.differences import Difference, differences, flat
from deployd.api.pages import bars, words
from deployd.api.pages.evidence import evidence
from deployd.api.pages.log import follows, last_lines
from deployd.api.pages.page import Head, Page, Part, has_it
from deployd.api.services import Services
from deployd.domain import Deploy
from deployd.status import Status

PAGE = Page(
    (
        Part("deploy/standing"),
        Part("deploy/dialogs", live=False),
        Part("deploy/steps"),
        Part("deploy/log", live=False, script="log.js"),
        Part("deploy/gates"),
        Part("deploy/model"),
        Part("deploy/changes"),
    )
)


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step: how long it took, and how long it usually takes where that is known."""

    name: str
    status: str
    detail: str
    seconds: float
    usual: float | None


async def deploy_page(request: Request, services: Services, caller: Caller, app: str, number: int) -> Response:
    """One deploy."""
    deploy, now = await deploy_of(services, app, number), datetime.now(UTC)
    usual = (await services.store.usual([app]))[app]
    former = await services.store.served_before(app, number)
    state = await services.store.state(app)
    log = None if has_it(request) else await last_lines(services, deploy)
    facts: dict[str, Any] = {
        "deploy": deploy,
        "log": log,
        "steps": lines(deploy, usual, now),
        "progress": bars.progress(deploy.steps, usual, now),
        "gates": [evidence(gate) for gate in deploy.gates],
        "model": list(flat("", deploy.model)),
        "former": former,
        "changes": changes(former, deploy),
        "live": state.live,
        "configured": services.config.find(app) is not None,
    }
    tone = "ok" if deploy.status is Status.RETIRED else words.TONES.get(deploy.status, "idle")
    title = f"{deploy.name} {deploy.status.replace('_', ' ')}"
    return PAGE.drawn(request, services, caller, Head(title, tone, follows(deploy, log)), facts)


def lines(deploy: Deploy, usual: dict[str, float], now: datetime) -> list[StepLine]:
    """The steps so far, and while it runs those that usually follow."""
    known = [
        StepLine(step.name, step.status, step.detail, words.step_lasted(step, now), usual.get(step.name))
        for step in deploy.steps
    ]
    if not deploy.status.active or deploy.rollback_to is not None or deploy.prove:
        return known
    names = {line.name for line in known}
    return known + [StepLine(name, "to come", "", 0.0, length) for name, length in usual.items() if name not in names]


_TOLD_ELSEWHERE = frozenset({"status", "reason", "subject", "author"})
_COMES_LATER = ("gate ", "canary ", "watch ", "model ", "image", "digest", "base ")


def changes(former: Deploy | None, deploy: Deploy) -> list[Difference]:
    """The differences from the release before, without those that the top of the page shows already, and without values that a
    deploy which ended early does not have."""
    if former is None:
        return []
    found = [one for one in differences(former, deploy) if one.what not in _TOLD_ELSEWHERE]
    whole = deploy.live_at is not None or deploy.status is Status.PROVEN
    return [one for one in found if whole or one.after is not None or not one.what.startswith(_COMES_LATER)]
