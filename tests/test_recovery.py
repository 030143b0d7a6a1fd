"""What the store says and what the target says, brought together; the target is scripted, the store is real."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from msgspec import structs

from deployd.domain import Deploy, Status, Trigger, Wanted
from deployd.errors import RolloutFailed, Unavailable
from deployd.events import Events
from deployd.ports import Target
from deployd.recovery import Recovery
from deployd.store.database import Database
from deployd.store.store import Store
from tests.desk import REPO
from tests.lanes import A, B, World, away
from tests.source.repositories import an_app

ROLLING_OUT = (Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT)
LIVE = (*ROLLING_OUT, Status.LIVE)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Database(tmp_path / "db") as database:
        yield Store(database, Events())


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def recovery(store: Store, world: World) -> Recovery:
    return Recovery(store, cast("Target", world), an_app(REPO))


async def _at(store: Store, *statuses: Status, commit: str = A, target: str = "docker") -> Deploy:
    deploy = await store.queue(Wanted("iris", commit, "refs/heads/main", Trigger("push"), target=target))
    for status in statuses:
        deploy = await store.advance(deploy, status)
    return deploy


async def _now(store: Store, deploy: Deploy) -> Deploy:
    found = await store.deploy(deploy.app, deploy.number)
    assert found is not None
    return structs.replace(found, steps=())


async def test_a_switch_that_happened_is_recorded(store: Store, world: World, recovery: Recovery) -> None:
    before = await _at(store, *LIVE)
    deploy = await _at(store, *ROLLING_OUT, commit=B)
    world.number = deploy.number
    assert await recovery.recover() == await _now(store, deploy)
    now = await _now(store, deploy)
    assert (now.status, now.reason) == (Status.LIVE, "the switch was found done after a restart")
    assert (await _now(store, before)).status is Status.RETIRED
    assert world.restored == []


@pytest.mark.parametrize("statuses", [(Status.BUILDING,), (Status.BUILDING, Status.CHECKING), ROLLING_OUT])
async def test_a_deploy_that_was_cut_off_before_its_switch_is_queued_again(
    store: Store, world: World, recovery: Recovery, statuses: tuple[Status, ...]
) -> None:
    live = await _at(store, *LIVE)
    deploy = await _at(store, *statuses, commit=B)
    world.number = live.number
    assert await recovery.recover() == await _now(store, live)
    now = await _now(store, deploy)
    assert (now.status, now.reason) == (Status.QUEUED, "interrupted by a restart")
    assert world.restored == []


async def test_a_deploy_that_was_checked_is_not_taken_for_live_though_its_candidate_answers(
    store: Store, world: World, recovery: Recovery
) -> None:
    deploy = await _at(store, Status.BUILDING, Status.CHECKING)
    await store.begin_step(deploy, "candidate")
    world.number = deploy.number
    assert await recovery.recover() is None
    assert (await _now(store, deploy)).status is Status.QUEUED


@pytest.mark.parametrize("serves", [None, 7])
async def test_the_recorded_release_is_restored_where_it_does_not_serve(
    store: Store, world: World, recovery: Recovery, serves: int | None
) -> None:
    live = await _at(store, *LIVE)
    world.number = serves
    assert await recovery.settle() == live
    assert (world.restored, world.number) == ([live.number], live.number)


async def test_a_release_that_cannot_be_restored_leaves_what_serves_instead(
    store: Store, world: World, recovery: Recovery
) -> None:
    live = await _at(store, *LIVE)
    world.number, world.refused = 7, [RolloutFailed("its image is gone")]
    assert await recovery.settle() == live
    assert (world.restored, world.number) == ([], 7)
    assert not world.swept.is_set()


async def test_a_target_that_is_away_while_a_release_is_restored_is_told(
    store: Store, world: World, recovery: Recovery
) -> None:
    await _at(store, *LIVE)
    world.refused = away()
    with pytest.raises(Unavailable, match="the engine is away"):
        await recovery.settle()


async def test_a_release_on_a_former_target_is_left_to_the_deploy_that_follows_it(
    store: Store, world: World, recovery: Recovery
) -> None:
    live = await _at(store, *LIVE, target="kubernetes")
    assert await recovery.settle() == live
    assert world.restored == []
    assert not world.swept.is_set()


async def test_without_a_release_what_a_deploy_left_half_made_goes(
    store: Store, world: World, recovery: Recovery
) -> None:
    await _at(store, Status.FAILED)
    assert await recovery.settle() is None
    assert world.swept.is_set()


async def test_after_a_loss_of_the_state_no_deploy_gets_the_number_of_what_serves(
    store: Store, world: World, recovery: Recovery
) -> None:
    world.number = 7
    assert await recovery.recover() is None
    assert (await _at(store)).number == 8
