"""What the store says and what the target says, brought together; the target is scripted, the store is real."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deployd.config.digest import release_digest
from deployd.domain import Health, Image
from deployd.errors import RolloutFailed
from deployd.events import Events
from deployd.keeper import Keeper
from deployd.store.database import Database
from deployd.store.store import Store
from tests.desk import REPO
from tests.keeping import LIVE, a_deploy_at, as_recorded, keeper_of
from tests.lanes import A, B, World, away
from tests.source.repositories import an_app


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


@asynccontextmanager
async def _kept(keeper: Keeper) -> AsyncIterator[None]:
    """The keeper serves for the length of the block."""
    task = asyncio.create_task(keeper.serve())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert task.cancelled(), task.exception()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be repaired is tried again at once."""
    monkeypatch.setattr("deployd.keeper._PAUSES", (0.01,))


async def _until(world: World, keeper: Keeper, number: int, state: str) -> Health:
    while (health := keeper.health(number)) is None or health.state != state:
        await world.compared.get()
        await asyncio.sleep(0)
    return health


async def test_a_difference_that_nobody_told_of_is_found_at_the_next_comparison(store: Store, world: World) -> None:
    live = await a_deploy_at(store, *LIVE)
    world.number = live.number
    keeper = keeper_of(store, world, 0.01)
    async with _kept(keeper):
        await world.compared.get()
        world.number = None
        await world.restoring.wait()
    assert world.restored == [live.number]


NOTHING_LEFT = "no image of an earlier release is left: `deployd deploy iris` builds it again"


async def test_a_difference_is_logged_once_and_so_is_its_end(
    store: Store, world: World, keeper: Keeper, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    live = await a_deploy_at(store, *LIVE)
    world.refused = [RolloutFailed("no space left")] * 3
    async with _kept(keeper):
        await _until(world, keeper, live.number, "ok")
    said = [record.message for record in caplog.records if record.name == "deployd.keeper"]
    assert said == [
        "iris/1 does not serve: its container was removed",
        f"iris/1 does not serve: its container was removed; it cannot be restored: no space left; {NOTHING_LEFT}",
        "iris/1 serves as it should again",
    ]


async def test_when_the_image_is_gone_the_hint_names_a_usable_rollback(
    store: Store, world: World, keeper: Keeper, impatient: None
) -> None:
    for commit, number in ((A, 1), (B, 2), (A, 3)):
        deploy = await a_deploy_at(store, *LIVE, commit=commit)
        await store.record_image(deploy, Image("deployd/iris", str(number), f"sha256:{number}"))
    world.lost, world.refused = {"2"}, [RolloutFailed("the image of iris/3 is no longer on the engine")]
    await keeper.settle()
    health = keeper.health(3)
    assert health is not None
    assert health.detail.endswith("`deployd rollback iris --to 1` can use an image that is still there")


async def test_a_target_that_is_away_makes_the_health_unknown_until_it_is_back(
    store: Store, world: World, keeper: Keeper, impatient: None
) -> None:
    live = await a_deploy_at(store, *LIVE)
    world.number, world.trouble = live.number, away(2)
    seen: list[str] = []
    async with _kept(keeper):
        while (health := keeper.health(live.number)) is None or health.state != "ok":
            seen += [health.state] if health is not None else []
            await asyncio.sleep(0)
    assert set(seen) == {"unknown"}


async def test_a_release_that_is_not_ready_is_told_and_not_restored(store: Store, world: World, keeper: Keeper) -> None:
    live = await a_deploy_at(store, *LIVE)
    world.number, world.well = live.number, Health("unready", "/ready: 503")
    await keeper.settle()
    health = keeper.health(live.number)
    assert health is not None
    assert (health.state, health.detail, health.since is not None) == ("unready", "/ready: 503", True)
    assert world.restored == []


async def test_a_deploy_that_changes_what_serves_ends_a_repair_and_none_begins_until_it_has_ended(
    store: Store, world: World, keeper: Keeper
) -> None:
    live = await a_deploy_at(store, *LIVE)
    world.slow = asyncio.Event()
    async with _kept(keeper):
        await world.restoring.wait()
        world.restoring.clear()
        await keeper.step_back()
        world.slow.set()
        keeper.wake()
        await asyncio.sleep(0.05)
        assert (world.restored, world.restoring.is_set()) == ([], False)
        keeper.resume()
        await _until(world, keeper, live.number, "ok")
    assert world.restored == [live.number]


async def test_the_health_of_another_release_is_not_reported_for_this_one(
    store: Store, world: World, keeper: Keeper
) -> None:
    live = await a_deploy_at(store, *LIVE)
    world.number = live.number
    await keeper.settle()
    assert keeper.health(live.number) == Health()
    assert keeper.health(live.number + 1) is None


@pytest.mark.parametrize("anew", [False, True])
async def test_a_release_that_was_made_anew_runs_with_the_present_config(
    store: Store, world: World, keeper: Keeper, anew: bool
) -> None:
    live = await a_deploy_at(store, *LIVE)
    await store.record_config(live, "old")
    world.made_anew = anew
    await keeper.settle()
    assert (await as_recorded(store, live)).config == (release_digest(an_app(REPO)) if anew else "old")


async def test_a_difference_that_somebody_makes_again_and_again_is_repaired_less_often(
    store: Store, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployd.keeper._IN_A_ROW", (0.0, 0.0, 3600.0))
    live = await a_deploy_at(store, *LIVE)
    keeper = keeper_of(store, world, 0.001)
    async with _kept(keeper):
        for _ in range(3):
            world.number = None
            await world.restoring.wait()
            world.restoring.clear()
        world.number = None
        await asyncio.sleep(0.05)
        assert world.restored == [live.number] * 3
        keeper.resume()  # a deploy has ended
        await world.restoring.wait()


async def test_the_release_of_a_deploy_that_ended_is_compared_at_once_though_the_one_before_could_not_be_restored(
    store: Store, world: World, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployd.keeper._PAUSES", (3600.0,))
    await a_deploy_at(store, *LIVE)
    world.refused = [RolloutFailed("no space left")]
    async with _kept(keeper):
        await world.restoring.wait()
        await keeper.step_back()
        live = await a_deploy_at(store, *LIVE, commit=B)
        world.number = live.number
        keeper.resume()
        await _until(world, keeper, live.number, "ok")


async def test_how_a_release_is_is_told_once_when_it_changes(tmp_path: Path, world: World) -> None:
    events = Events()
    async with Database(tmp_path / "db") as database:
        store = Store(database, events)
        keeper = keeper_of(store, world)
        live = await a_deploy_at(store, *LIVE)
        after = events.latest
        for well in (Health(), Health(), Health("unready", "/ready: 503"), Health("unready", "/ready: 503"), Health()):
            world.number, world.well = live.number, well
            await keeper.keep()
        events.publish("end", "iris", None, {})
        told = []
        async for event in events.watch(after):
            if event.kind == "end":
                break
            told.append((event.kind, event.number, event.data))
    assert told == [
        ("health", live.number, {"state": "ok", "detail": ""}),
        ("health", live.number, {"state": "unready", "detail": "/ready: 503"}),
        ("health", live.number, {"state": "ok", "detail": ""}),
    ]
