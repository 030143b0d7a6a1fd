"""What the keeper finds at a start: the store tells one thing of what serves, the target perhaps another."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.domain import Deploy
from deployd.errors import RolloutFailed, Unavailable
from deployd.events import Events
from deployd.keeper import Keeper
from deployd.status import Status
from deployd.store.database import Database
from deployd.store.store import Store
from tests.keeping import LIVE, ROLLING_OUT, a_deploy_at, as_recorded, keeper_of
from tests.lanes import B, World, away


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Database(tmp_path / "db") as database:
        yield Store(database, Events())


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def keeper(store: Store, world: World) -> Keeper:
    return keeper_of(store, world)


async def test_a_switch_that_happened_is_recorded(store: Store, world: World, keeper: Keeper) -> None:
    before = await a_deploy_at(store, *LIVE)
    deploy = await a_deploy_at(store, *ROLLING_OUT, commit=B)
    world.number = deploy.number
    assert await keeper.recover() == await as_recorded(store, deploy)
    now = await as_recorded(store, deploy)
    assert (now.status, now.reason) == (Status.LIVE, "the switch was found done after a restart")
    assert (await as_recorded(store, before)).status is Status.RETIRED
    assert world.restored == []


@pytest.mark.parametrize("statuses", [(Status.BUILDING,), (Status.BUILDING, Status.CHECKING), ROLLING_OUT])
async def test_a_deploy_that_was_cut_off_before_its_switch_is_queued_again(
    store: Store, world: World, keeper: Keeper, statuses: tuple[Status, ...]
) -> None:
    live = await a_deploy_at(store, *LIVE)
    deploy = await a_deploy_at(store, *statuses, commit=B)
    world.number = live.number
    assert await keeper.recover() == await as_recorded(store, live)
    now = await as_recorded(store, deploy)
    assert (now.status, now.reason) == (Status.QUEUED, "interrupted by a restart")
    assert world.restored == []


async def test_a_deploy_that_was_checked_is_not_taken_for_live_though_its_candidate_answers(
    store: Store, world: World, keeper: Keeper
) -> None:
    deploy = await a_deploy_at(store, Status.BUILDING, Status.CHECKING)
    await store.begin_step(deploy, "candidate")
    world.number = deploy.number
    assert await keeper.recover() is None
    assert (await as_recorded(store, deploy)).status is Status.QUEUED


async def _watched(store: Store) -> Deploy:
    """A release that is live and watched; iris/1 stands by for it."""
    await a_deploy_at(store, *LIVE)
    return await store.advance(await a_deploy_at(store, *ROLLING_OUT, commit=B), Status.LIVE, watched=True)


@pytest.mark.parametrize("serves", [1, 2])
async def test_a_return_that_was_begun_is_finished_wherever_the_traffic_goes(
    store: Store, world: World, keeper: Keeper, serves: int
) -> None:
    bad = await _watched(store)
    await store.begin_return(bad, "5 of 9 requests failed")
    world.number = serves
    live = await keeper.recover()
    assert live is not None
    assert (live.number, world.number, world.restored) == (1, 1, [])
    now = await as_recorded(store, bad)
    assert (now.status, now.reason) == (Status.REVERTED, "5 of 9 requests failed")


async def test_a_return_that_was_begun_ends_where_what_stands_by_cannot_serve(
    store: Store, world: World, keeper: Keeper
) -> None:
    bad = await _watched(store)
    await store.begin_return(bad, "5 of 9 requests failed")
    world.number, world.refused = 2, [RolloutFailed("iris/1 does not start")]
    live = await keeper.recover()
    assert live is not None
    assert (live.number, live.returning, world.number) == (2, "", 2)


async def test_traffic_that_no_return_has_moved_is_a_difference_like_any_other(
    store: Store, world: World, keeper: Keeper
) -> None:
    bad = await _watched(store)
    world.number = 1
    live = await keeper.recover()
    assert live is not None
    assert (live.number, live.standby, world.restored) == (bad.number, 1, [bad.number])


@pytest.mark.parametrize("serves", [None, 7])
async def test_the_recorded_release_is_restored_where_it_does_not_serve(
    store: Store, world: World, keeper: Keeper, serves: int | None
) -> None:
    live = await a_deploy_at(store, *LIVE)
    world.number = serves
    await keeper.settle()
    assert (world.restored, world.number) == ([live.number], live.number)


async def test_a_release_that_cannot_be_restored_leaves_what_serves_instead(
    store: Store, world: World, keeper: Keeper
) -> None:
    await a_deploy_at(store, *LIVE)
    world.number, world.refused = 7, [RolloutFailed("its image is gone")]
    await keeper.settle()
    assert (world.restored, world.number) == ([], 7)
    assert not world.swept.is_set()


async def test_a_target_that_is_away_while_a_release_is_restored_is_told(
    store: Store, world: World, keeper: Keeper
) -> None:
    await a_deploy_at(store, *LIVE)
    world.refused = away()
    with pytest.raises(Unavailable, match="the engine is away"):
        await keeper.settle()


async def test_a_release_on_a_former_target_is_left_to_the_deploy_that_follows_it(
    store: Store, world: World, keeper: Keeper
) -> None:
    await a_deploy_at(store, *LIVE, target="kubernetes")
    await keeper.settle()
    assert world.restored == []
    assert not world.swept.is_set()


async def test_without_a_release_what_a_deploy_left_half_made_goes(store: Store, world: World, keeper: Keeper) -> None:
    await a_deploy_at(store, Status.FAILED)
    await keeper.settle()
    assert world.swept.is_set()


async def test_after_a_loss_of_the_state_no_deploy_gets_the_number_of_what_serves(
    store: Store, world: World, keeper: Keeper
) -> None:
    world.number = 7
    assert await keeper.recover() is None
    assert (await a_deploy_at(store)).number == 8
