"""The handlers of the buttons: each does the same as its endpoint of the API, then redirects to the page with the outcome."""

from urllib.parse import quote

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from deployd.api.asked import DeployAsked, RollbackAsked, ScaleAsked
from deployd.api.auth import Deployer
from deployd.api.pages.login import fields
from deployd.api.pages.page import PageRoute
from deployd.api.paths import Number
from deployd.api.services import Given
from deployd.domain import Deploy
from deployd.errors import RequestRefused

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.post("/apps/{app}/deploy", response_class=Response)
async def deploy(app: str, request: Request, services: Given, caller: Deployer) -> Response:
    """Deploy a commit, branch or tag, or only prove it."""
    given = await fields(request)
    try:
        asked = DeployAsked(
            commit=given.get("commit", "").strip() or None,
            **{name: name in given for name in ("rebuild", "prove", "accept_changes")},
        )
    except ValidationError as exc:
        what = "expected a SHA, branch or tag: no space in it, and no hyphen in front"
        raise RequestRefused(422, what) from exc
    wishes = asked.model_dump(exclude={"commit"})
    return _to(await services.scheduler.deploy(app, asked.commit, caller.name, **wishes))


@router.post("/apps/{app}/rollback", response_class=Response)
async def rollback(app: str, request: Request, services: Given, caller: Deployer) -> Response:
    """Go back to an earlier release."""
    to = (await fields(request)).get("to", "")
    try:
        asked = RollbackAsked.model_validate({"to": to or None})
    except ValidationError as exc:
        raise RequestRefused(422, "expected the number of a release") from exc
    return _to(await services.scheduler.rollback(app, asked.to, caller.name))


@router.post("/apps/{app}/restart", response_class=Response)
async def restart(app: str, services: Given, caller: Deployer) -> Response:
    """Roll the present config out, with the present image."""
    return _to(await services.scheduler.restart(app, caller.name))


@router.post("/apps/{app}/pause", response_class=Response)
async def pause(app: str, services: Given, caller: Deployer) -> Response:
    """Let new deploys wait."""
    await services.scheduler.pause(app, paused=True, by=caller.name)
    return _seen(f"/apps/{quote(app)}")


@router.post("/apps/{app}/resume", response_class=Response)
async def resume(app: str, services: Given, caller: Deployer) -> Response:
    """Take deploys again."""
    await services.scheduler.pause(app, paused=False, by=caller.name)
    return _seen(f"/apps/{quote(app)}")


@router.post("/apps/{app}/scale", response_class=Response)
async def scale(app: str, request: Request, services: Given, caller: Deployer) -> Response:
    """Run so many replicas."""
    try:
        asked = ScaleAsked.model_validate({"replicas": (await fields(request)).get("replicas", "")})
    except ValidationError as exc:
        raise RequestRefused(422, "the number of pods is between 0 and 1000") from exc
    await services.scheduler.scale(app, asked.replicas, caller.name)
    return _seen(f"/apps/{quote(app)}?done=scaled")


@router.post("/apps/{app}/deploys/{number}/cancel", response_class=Response)
async def cancel(app: str, number: Number, services: Given, caller: Deployer) -> Response:
    """Cancel a deploy that waits or runs."""
    return _to(await services.scheduler.cancel(app, number, caller.name))


@router.post("/deliveries/{guid}/redeliver", response_class=Response)
async def redeliver(guid: str, services: Given, caller: Deployer) -> Response:
    """Take a delivery once more."""
    await services.scheduler.redeliver(guid, caller.name)
    return _seen("/deliveries?done=redelivered")


def _to(deploy: Deploy) -> Response:
    return _seen(f"/apps/{quote(deploy.app)}/deploys/{deploy.number}")


def _seen(path: str) -> Response:
    return RedirectResponse(path, 303)
