"""Removals and what is forgotten, asked of a scheduler with real lanes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.errors import RequestRefused, Unavailable
from deployd.status import Status
from tests.lanes import A, Cleaning
from tests.scheduling import Desk, a_desk, configured


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as made:
        yield made


async def test_an_app_that_is_gone_from_the_config_serves_on_until_it_is_removed(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        await desk.deployed(A)
        with pytest.raises(RequestRefused, match="still in the config"):
            await scheduler.remove("iris")
        desk.running.replace(configured("rose"))
        assert (await desk.store.state("iris")).live is not None
        assert desk.world.removed == []
        await scheduler.remove("iris")
        assert desk.world.removed == ["iris"]
        assert (await desk.store.state("iris")).live is None
        with pytest.raises(RequestRefused, match="no app lily"):
            await scheduler.remove("lily")


async def test_an_app_is_removed_after_the_clean_up_of_its_lane(desk: Desk) -> None:
    cleaning = Cleaning()
    async with desk.serving() as scheduler:
        desk.pipeline.scripts[A] = cleaning
        await desk.pushed(A)
        await desk.pipeline.began.get()
        desk.running.replace(configured("rose"))
        await cleaning.begun.wait()
        removing = asyncio.create_task(scheduler.remove("iris"))
        await desk.store.known_apps()
        assert desk.world.removed == []
        cleaning.let_end.set()
        await removing
        assert desk.world.removed == ["iris"]


async def test_an_app_that_runs_where_this_daemon_reaches_nothing_is_not_forgotten(desk: Desk) -> None:
    async with desk.serving() as scheduler:
        live = await desk.deployed(A)
        await desk.store.record_target(live, "kubernetes")
        desk.running.replace(configured("rose"))
        with pytest.raises(RequestRefused, match="ran on kubernetes"):
            await scheduler.remove("iris")
        assert (await desk.store.state("iris")).live is not None
        assert desk.world.removed == []


async def test_old_deliveries_that_cannot_be_forgotten_now_stay_for_another_day(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def refusing(older_than: float) -> int:
        assert older_than == desk.running.config.retention.deliveries
        asked.set()
        raise Unavailable("the database is locked")

    monkeypatch.setattr(desk.store, "forget_deliveries", refusing)
    async with desk.serving():
        await asked.wait()
        await desk.pushed(A)
        await desk.becomes("iris/1", Status.LIVE)
