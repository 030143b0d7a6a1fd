"""The lanes of a scheduler, which come and go with the apps of the config."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.goal import Trigger, Wanted
from deployd.status import Status
from tests.desk import MAIN
from tests.lanes import A, Cleaning
from tests.scheduling import Desk, a_desk, configured


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with a_desk(tmp_path) as made:
        yield made


async def test_deploys_queued_before_a_restart_are_taken_up(desk: Desk) -> None:
    await desk.store.queue(Wanted("iris", A, MAIN, Trigger("manual")))
    async with desk.serving():
        await desk.becomes("iris/1", Status.LIVE)


async def test_a_reload_takes_up_a_new_app(desk: Desk) -> None:
    async with desk.serving():
        desk.running.replace(configured("iris", "rose", "lily"))
        await desk.pushed(A, "lily")
        await desk.becomes("lily/1", Status.LIVE)


async def test_an_app_that_comes_back_waits_until_its_former_lane_is_done(desk: Desk) -> None:
    cleaning = Cleaning()
    async with desk.serving():
        desk.pipeline.scripts[A] = cleaning
        await desk.pushed(A)
        await desk.pipeline.began.get()
        desk.running.replace(configured("rose"))
        desk.running.replace(configured("iris", "rose"))
        await cleaning.begun.wait()
        del desk.pipeline.scripts[A]
        cleaning.let_end.set()
        await desk.becomes("iris/1", Status.LIVE)
