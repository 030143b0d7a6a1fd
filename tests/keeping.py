"""A keeper of the app iris over a real store; the target is scripted."""

from typing import cast

from msgspec import structs

from deployd.domain import Deploy
from deployd.goal import Trigger, Wanted
from deployd.keeper import Keeper
from deployd.ports.target import Target
from deployd.status import Status
from deployd.store.store import Store
from tests.desk import REPO
from tests.lanes import A, World
from tests.source.repositories import an_app

ROLLING_OUT = (Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT)
LIVE = (*ROLLING_OUT, Status.LIVE)


def keeper_of(store: Store, world: World, pause: float = 3600.0) -> Keeper:
    """The keeper; it compares every `pause` seconds, unless it is told to."""
    return Keeper(store, lambda _: cast("Target", world), lambda: an_app(REPO), lambda: pause)


async def a_deploy_at(store: Store, *statuses: Status, commit: str = A, target: str = "docker") -> Deploy:
    """A deploy of iris that has gone through these statuses."""
    deploy = await store.queue(Wanted("iris", commit, "refs/heads/main", Trigger("push"), target=target))
    for status in statuses:
        deploy = await store.advance(deploy, status)
    return deploy


async def as_recorded(store: Store, deploy: Deploy) -> Deploy:
    """The deploy as the store has it, without its steps."""
    found = await store.deploy(deploy.app, deploy.number)
    assert found is not None
    return structs.replace(found, steps=())
