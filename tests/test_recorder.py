"""The steps of a deploy, recorded as they go."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from deployd.domain import Deploy, Step
from deployd.errors import RolloutFailed, Unavailable
from deployd.events import Events
from deployd.goal import Trigger, Wanted
from deployd.recorder import Recorder
from deployd.status import Status
from deployd.store.database import Database
from deployd.store.store import Store
from tests.fakes import FakeLog


class Desk:
    """A deploy that is checked, and who records its steps."""

    def __init__(self, database: Database, events: Events, store: Store, deploy: Deploy) -> None:
        self.database, self.events, self.store, self.deploy = database, events, store, deploy
        self.log = FakeLog()
        self.recorder = Recorder(store, deploy, self.log)

    async def steps(self) -> tuple[Step, ...]:
        found = await self.store.deploy(self.deploy.app, self.deploy.number)
        assert found is not None
        return found.steps


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Database(tmp_path / "db") as database:
        events = Events()
        store = Store(database, events)
        deploy = await store.queue(Wanted("iris", "a" * 40, "refs/heads/main", Trigger("push", "guid")))
        for status in (Status.BUILDING, Status.CHECKING):
            deploy = await store.advance(deploy, status)
        yield Desk(database, events, store, deploy)


async def test_a_step_is_recorded_while_it_runs_and_as_it_ends(desk: Desk) -> None:
    async with desk.recorder.step("candidate"):
        assert [(step.name, step.status) for step in await desk.steps()] == [("candidate", "running")]
    (step,) = await desk.steps()
    assert (step.status, step.finished_at is not None) == ("done", True)
    assert desk.log.text.startswith("==> candidate\n<== candidate took ")


async def test_a_step_knows_its_place_in_the_log(desk: Desk) -> None:
    desk.log.write("unfinished")
    async with desk.recorder.step("build"):
        (running,) = await desk.steps()
        assert (running.log_start, running.log_end) == (len("unfinished\n"), None)
        desk.log.write("==> not a step\n")
    with pytest.raises(RolloutFailed):
        async with desk.recorder.step("ready"):
            raise RolloutFailed("no")
    build, ready = await desk.steps()
    text = desk.log.text
    assert text[build.log_start : build.log_end].startswith("==> build\n==> not a step\n<== build took ")
    assert text[ready.log_start : ready.log_end] == "==> ready\n"


async def test_only_a_step_that_is_done_counts_into_the_metric_of_how_long_it_takes(desk: Desk) -> None:
    def counted() -> float:
        labels = {"app": "iris", "step": "measured"}
        return REGISTRY.get_sample_value("deployd_deploy_seconds_count", labels) or 0.0

    before = counted()
    async with desk.recorder.step("measured"):
        pass
    with pytest.raises(RolloutFailed):
        async with desk.recorder.step("measured"):
            raise RolloutFailed("no")
    assert counted() == before + 1


async def test_how_far_a_step_has_come_is_kept_with_it_logged_and_told_to_who_watches(desk: Desk) -> None:
    watched = desk.events.watch(desk.events.latest)
    async with desk.recorder.step("rollout"), desk.recorder.step("ready"):
        await desk.recorder.tell("rollout", "1 of 3 updated, 3 available, 1 old")
        details = {step.name: step.detail for step in await desk.steps()}
    assert details == {"rollout": "1 of 3 updated, 3 available, 1 old", "ready": ""}
    assert "1 of 3 updated" in desk.log.text
    told = [await anext(watched) for _ in range(3)]
    assert told[-1].data == {"name": "rollout", "status": "running", "detail": details["rollout"]}


async def test_a_disk_that_refuses_how_far_a_step_has_come_does_not_hold_it_up(desk: Desk) -> None:
    async with desk.recorder.step("rollout"):
        watched = desk.events.watch(desk.events.latest)
        await desk.database.write(_no_more_pages)
        async with asyncio.timeout(30):
            await desk.recorder.tell("rollout", "x" * 100_000)
        assert (await anext(watched)).data["detail"]
        await desk.database.write(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchone()[0])
    (step,) = await desk.steps()
    assert (step.status, step.detail) == ("done", "")


def _no_more_pages(connection: sqlite3.Connection) -> int:
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    return int(connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()[0])


async def test_a_step_that_fails_is_failed_and_the_error_goes_on(desk: Desk) -> None:
    with pytest.raises(RolloutFailed):
        async with desk.recorder.step("candidate"):
            raise RolloutFailed("exited with code 3")
    assert [step.status for step in await desk.steps()] == ["failed"]
    assert "<==" not in desk.log.text


async def _interrupted(desk: Desk, step: str, *, full: bool = False) -> asyncio.Task[None]:
    """A task that was cancelled in the middle of a step, ended; `full`: the disk refused to record that."""
    began = asyncio.Event()

    async def work() -> None:
        async with desk.recorder.step(step):
            began.set()
            await asyncio.Event().wait()

    async def refused(_: object) -> None:
        raise Unavailable("the disk is full")

    task = asyncio.create_task(work())
    await began.wait()
    with pytest.MonkeyPatch.context() as patched:
        if full:
            patched.setattr(desk.database, "write", refused)
            desk.store.stop_waiting()
        task.cancel()
        await asyncio.wait({task})
    return task


async def test_a_step_that_is_cancelled_is_cancelled_and_the_cancellation_goes_on(desk: Desk) -> None:
    assert (await _interrupted(desk, "candidate")).cancelled()
    assert [step.status for step in await desk.steps()] == ["cancelled"]


async def test_a_cancellation_goes_on_even_when_it_cannot_be_recorded(desk: Desk) -> None:
    assert (await _interrupted(desk, "drain", full=True)).cancelled()
