"""The accepted deliveries: the outcome of each, or why the look that it asked for has not happened yet. And the last of
those that were refused or ignored."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from deployd.api.answers import DeliveriesAnswer, DeliveryAnswer, NotKeptAnswer, OutcomeAnswer
from deployd.api.auth import READS
from deployd.api.services import Given, Services
from deployd.delivery import Outcome, Push, Received
from deployd.errors import RequestRefused
from deployd.http.problems import PROBLEMS

router = APIRouter(prefix="/api/v1/deliveries", responses=PROBLEMS)


@router.get("", dependencies=[READS])
async def deliveries(
    services: Given,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
) -> DeliveriesAnswer:
    """The accepted deliveries, newest first; beside the first ones those that were refused or ignored."""
    found = await services.store.deliveries(limit, before)
    more = found[-1].id if len(found) == limit else None
    not_kept = services.not_kept.latest() if before is None else ()
    return DeliveriesAnswer(
        deliveries=[_answer(services, one) for one in found],
        before=more,
        not_kept=[NotKeptAnswer.model_validate(one) for one in not_kept],
    )


@router.get("/{guid}", dependencies=[READS])
async def one_delivery(
    guid: Annotated[str, Path(max_length=200, description="the delivery's GUID")], services: Given
) -> DeliveryAnswer:
    """One delivery, by the GUID from its forge."""
    if (found := await services.store.delivery(guid)) is None:
        if (ignored := services.not_kept.find(guid)) is not None:
            raise RequestRefused(404, f"delivery {guid} was ignored: {ignored.reason}")
        hint = "refused and ignored deliveries are not kept, nor are those of pull requests; the forge's own list has them all"
        raise RequestRefused(404, f"there is no delivery {guid}", hint=hint)
    return _answer(services, found)


def _answer(services: Services, received: Received) -> DeliveryAnswer:
    push = received.followed[0].push
    return DeliveryAnswer(
        id=received.id,
        guid=received.delivery.guid,
        forge=received.delivery.forge,
        event=received.delivery.event,
        received_at=received.received_at,
        repository=push.repository,
        ref=push.ref,
        commit=push.commit,
        apps=[_outcome(services, one, received.push_for(one.app)) for one in received.outcomes],
    )


def _outcome(services: Services, outcome: Outcome, push: Push) -> OutcomeAnswer:
    reason = outcome.reason
    if outcome.looked_at is None:
        trouble, waiting = services.scheduler.looks.trouble(outcome.app), services.scheduler.looks.waiting(outcome.app)
        if waiting is not None:
            reason = f"{waiting.commit[:12]} waits for its checks: {waiting.reason}"
        else:
            reason = "the remote has still to be asked" + (f": {trouble.reason}" if trouble is not None else "")
    return OutcomeAnswer(
        app=outcome.app,
        ref=push.ref,
        named=push.commit,
        looked_at=outcome.looked_at,
        commit=outcome.commit,
        deploy=outcome.number,
        reason=reason,
    )
