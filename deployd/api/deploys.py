"""The endpoints for apps and their deploys."""

import importlib.metadata
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from msgspec import structs
from starlette.responses import Response

from deployd.api.answers import DeployAnswer, DeploysAnswer, DiffAnswer, DifferenceAnswer, RegisteredAnswer
from deployd.api.asked import CommitName, DeployAsked, RollbackAsked, ScaleAsked
from deployd.api.auth import READS, RULES, Deployer
from deployd.api.differences import differences
from deployd.api.paths import Number, NumberQuery
from deployd.api.report import report
from deployd.api.services import Given, Services
from deployd.api.states import (
    ActAnswer,
    AppAnswer,
    AppsAnswer,
    DescribeAnswer,
    FailedAnswer,
    HealthAnswer,
    HeldAnswer,
    OwedAnswer,
    PlanAnswer,
    RatesAnswer,
    WaitingAnswer,
    WatchedAnswer,
    live_of,
)
from deployd.config.urls import public_urls
from deployd.domain import AppState, Deploy
from deployd.errors import RequestRefused
from deployd.http.problems import PROBLEMS
from deployd.status import Status

router = APIRouter(prefix="/api/v1/apps", responses=PROBLEMS)


@router.get("", dependencies=[READS])
async def apps(services: Given) -> AppsAnswer:
    """Every app of the config, and the apps that still serve but are no longer in the config."""
    return AppsAnswer(apps=[app_answer(services, state) for state in await shown_apps(services)])


@router.get("/{app}", dependencies=[READS])
async def one_app(app: str, services: Given) -> AppAnswer:
    """One app."""
    await must_be_known(services, app)
    return app_answer(services, await services.store.state(app))


@router.get("/{app}/deploys", dependencies=[READS])
async def deploys(
    app: str,
    services: Given,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
) -> DeploysAnswer:
    """The app's deploys, newest first."""
    await must_be_known(services, app)
    found = await services.store.deploys(app, limit, before)
    more = found[-1].number if len(found) == limit and found[-1].number > 1 else None
    return DeploysAnswer(deploys=[DeployAnswer.of(deploy) for deploy in found], before=more)


@router.get("/{app}/deploys/{number}", dependencies=[READS])
async def one_deploy(app: str, number: Number, services: Given) -> DeployAnswer:
    """One deploy with its steps."""
    return DeployAnswer.of(await deploy_of(services, app, number))


@router.get(
    "/{app}/deploys/{number}/report",
    dependencies=[READS],
    response_class=Response,
    responses={200: {"content": {"text/markdown": {"schema": {"type": "string"}}}}},
)
async def one_report(app: str, number: Number, services: Given) -> Response:
    """The whole record of a deploy as one page in Markdown."""
    deploy = await deploy_of(services, app, number)
    former = await services.store.served_before(app, number)
    daemon = f"deployd {importlib.metadata.version('deployd')} ({services.config.server.identity})"
    page = report(deploy, former, daemon=daemon, now=datetime.now(UTC))
    return Response(page, media_type="text/markdown; charset=utf-8")


@router.post("/{app}/deploys", status_code=202)
async def deploy_app(app: str, services: Given, caller: Deployer, asked: DeployAsked | None = None) -> DeployAnswer:
    """Deploy a commit, branch or tag, or only prove it; without one, the head of what the app watches."""
    asked = asked or DeployAsked()
    wishes = asked.model_dump(exclude={"commit"})
    deploy = await services.scheduler.deploy(app, asked.commit, caller.name, **wishes)
    return DeployAnswer.of(deploy)


@router.post("/{app}/rollback", status_code=202)
async def rollback(app: str, services: Given, caller: Deployer, asked: RollbackAsked | None = None) -> DeployAnswer:
    """Go back to an earlier release, with the image that was kept."""
    return DeployAnswer.of(await services.scheduler.rollback(app, asked.to if asked else None, caller.name))


@router.post("/{app}/restart", status_code=202)
async def restart(app: str, services: Given, caller: Deployer) -> DeployAnswer:
    """Roll out the current config with the image of the live release."""
    return DeployAnswer.of(await services.scheduler.restart(app, caller.name))


@router.post("/{app}/deploys/{number}/cancel", status_code=202)
async def cancel(app: str, number: Number, services: Given, caller: Deployer) -> DeployAnswer:
    """Cancel a deploy that is queued or in flight."""
    return DeployAnswer.of(await services.scheduler.cancel(app, number, caller.name))


@router.post("/{app}/pause")
async def pause(app: str, services: Given, caller: Deployer) -> AppAnswer:
    """Keep the app's new deploys queued until it is resumed."""
    await services.scheduler.pause(app, paused=True, by=caller.name)
    return app_answer(services, await services.store.state(app))


@router.post("/{app}/resume")
async def resume(app: str, services: Given, caller: Deployer) -> AppAnswer:
    """Start deploys of the app again; the newest that is queued runs."""
    await services.scheduler.pause(app, paused=False, by=caller.name)
    return app_answer(services, await services.store.state(app))


@router.post("/{app}/scale")
async def scale(app: str, asked: ScaleAsked, services: Given, caller: Deployer) -> AppAnswer:
    """Run this number of replicas."""
    await services.scheduler.scale(app, asked.replicas, caller.name)
    return app_answer(services, await services.store.state(app))


@router.get("/{app}/describe", dependencies=[READS])
async def describe(app: str, services: Given) -> DescribeAnswer:
    """The app, and what its target says about the running containers or pods."""
    configured, target = services.scheduler.target_of(app)
    running = dict(await target.describe(configured))
    return DescribeAnswer(app=app_answer(services, await services.store.state(app)), running=running)


@router.get("/{app}/plan", dependencies=[READS])
async def plan(app: str, services: Given, commit: CommitName | None = None) -> PlanAnswer:
    """What deploying `commit` (SHA, branch or tag; default: the head of what the app follows) would do, without doing it."""
    found = await services.scheduler.plan(app, commit)
    return PlanAnswer(
        app=app_answer(services, await services.store.state(app)),
        commit=found.commit,
        head=found.head,
        known=DeployAnswer.of(found.known) if found.known else None,
        image=found.image.full_name if found.image else None,
        steps=list(found.steps),
        registered=RegisteredAnswer.model_validate(found.registered) if found.registered is not None else None,
    )


@router.get("/{app}/diff", dependencies=[READS])
async def diff(app: str, services: Given, before: NumberQuery, after: NumberQuery) -> DiffAnswer:
    """What differs between two deploys."""
    old, new = await deploy_of(services, app, before), await deploy_of(services, app, after)
    found = [DifferenceAnswer.model_validate(one) for one in differences(old, new)]
    return DiffAnswer(before=DeployAnswer.of(old), after=DeployAnswer.of(new), differences=found)


@router.delete("/{app}", status_code=204, dependencies=[RULES])
async def remove(app: str, services: Given) -> None:
    """Remove an app that is no longer in the config from its target; its history stays."""
    await services.scheduler.remove(app)


def _watched(services: Services, state: AppState) -> WatchedAnswer | None:
    found = services.scheduler.lanes.watched(state.app, state.live.number) if state.live is not None else None
    return WatchedAnswer.model_validate(found) if found is not None else None


def _health(services: Services, state: AppState) -> HealthAnswer | None:
    if state.live is None or (health := services.scheduler.lanes.health(state.app, state.live.number)) is None:
        return None
    return HealthAnswer.model_validate(health)


def _rates(services: Services, app: str) -> RatesAnswer | None:
    found = services.sampler.rates(app)
    return RatesAnswer.model_validate(found) if found is not None else None


def _failed(deploy: Deploy | None) -> FailedAnswer | None:
    if deploy is None:
        return None
    return FailedAnswer(
        number=deploy.number,
        commit=deploy.commit,
        reason=deploy.reason,
        hint=deploy.hint,
        reverted=deploy.status is Status.REVERTED,
    )


async def deploy_of(services: Services, app: str, number: int) -> Deploy:
    """One deploy with its steps; RequestRefused 404 when there is none of that number."""
    if (deploy := await services.store.deploy(app, number)) is None:
        raise RequestRefused(404, f"there is no deploy {app}/{number}", hint=f"deployd history {app} shows them")
    return deploy


async def must_be_known(services: Services, app: str) -> None:
    """RequestRefused 404 unless the app is in the config, or was."""
    if services.config.find(app) is None and app not in await services.store.known_apps():
        raise RequestRefused(404, f"there is no app {app}", hint="deployd status shows the apps")


async def shown_apps(services: Services) -> list[AppState]:
    """The states of every app of the config, and of the apps that still serve but are no longer in it."""
    configured = [app.name for app in services.config.app]
    others = [name for name in await services.store.known_apps() if name not in configured]
    states = await services.store.states([*configured, *others])
    return [state for state in states if state.app in configured or state.live or state.in_flight]


def app_answer(services: Services, state: AppState) -> AppAnswer:
    """How an app is."""
    app = services.config.find(state.app)
    held = HeldAnswer(**structs.asdict(state.held), reason=state.held_reason) if state.held is not None else None
    trouble, waiting = services.scheduler.looks.trouble(state.app), services.scheduler.looks.waiting(state.app)
    owed_since = (state.owed_since if waiting is None else None) or (trouble.since if trouble is not None else None)
    why, what = (trouble.reason, trouble.what) if trouble is not None else ("the remote is being looked at", "remote")
    return AppAnswer(
        name=state.app,
        configured=app is not None,
        target=app.target if app else None,
        repo=app.repo if app else None,
        branch=app.branch if app else None,
        tag=app.tag if app else None,
        paused=state.paused,
        paused_by=state.paused_by,
        paused_at=state.paused_at,
        held=held,
        owed=OwedAnswer(since=owed_since, reason=why, what=what) if owed_since is not None else None,
        waiting=WaitingAnswer(**waiting._asdict()) if waiting is not None else None,
        live=live_of(state),
        older_config=services.scheduler.older_config(state),
        health=_health(services, state),
        watched=_watched(services, state),
        failed=_failed(state.failed),
        in_flight=DeployAnswer.of(state.in_flight) if state.in_flight else None,
        queued=state.queued,
        traffic=_rates(services, state.app),
        urls=public_urls(services.config, app) if app else [],
        acts=[ActAnswer.model_validate(act) for act in state.acts],
    )
