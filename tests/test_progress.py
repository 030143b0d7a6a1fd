import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from deployd.progress import DeployProgress

from deployd.domain import Deploy, GateResult, Image, Status, Trigger, Wanted
from deployd.errors import RolloutFailed, Unavailable
from deployd.events import Events
from deployd.ports import Candidate, Context, Gate, Log
from deployd.store.database import Database
from deployd.store.store import Store
from tests.fakes import FakeLog
from tests.gates.service import COMMIT, a_candidate, as_json, serving


@dataclass
class Says:
    """A gate with one answer."""

    name: str
    result: GateResult

    async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:
        return self.result


@dataclass
class Desk:
    """A deploy that is checked, and its progress."""

    store: Store
    deploy: Deploy
    log: FakeLog
    database: Database
    events: Events
    outrun: bool = False

    def progress(self, *gates: Gate) -> DeployProgress:
        return DeployProgress(self.store, self.deploy, self.log, gates, self._outrun)

    async def now(self) -> Deploy:
        found = await self.store.deploy(self.deploy.app, self.deploy.number)
        assert found is not None
        return found

    async def _outrun(self) -> bool:
        return self.outrun


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Database(tmp_path / "db") as database:
        events = Events()
        store = Store(database, events)
        deploy = await store.queue(Wanted("iris", COMMIT, "refs/heads/main", Trigger("push", "guid")))
        for status in (Status.BUILDING, Status.CHECKING):
            deploy = await store.advance(deploy, status)
        yield Desk(store, deploy, FakeLog(), database, events)


async def test_a_step_is_recorded_while_it_runs_and_as_it_ends(desk: Desk) -> None:
    async with desk.progress().step("candidate"):
        assert [(step.name, step.status) for step in (await desk.now()).steps] == [("candidate", "running")]
    (step,) = (await desk.now()).steps
    assert (step.status, step.finished_at is not None) == ("done", True)
    assert desk.log.text.startswith("==> candidate\n<== candidate took ")


async def test_how_far_a_step_has_come_is_kept_with_it_logged_and_told_to_who_watches(desk: Desk) -> None:
    progress = desk.progress()
    watched = desk.events.watch(desk.events.latest)
    async with progress.step("rollout"), progress.step("ready"):
        await progress.tell("rollout", "1 of 3 updated, 3 available, 1 old")
        details = {step.name: step.detail for step in (await desk.now()).steps}
    assert details == {"rollout": "1 of 3 updated, 3 available, 1 old", "ready": ""}
    assert "1 of 3 updated" in desk.log.text
    told = [await anext(watched) for _ in range(3)]
    assert told[-1].data == {"name": "rollout", "status": "running", "detail": details["rollout"]}


async def test_a_disk_that_refuses_such_a_word_does_not_hold_up_the_step(desk: Desk) -> None:
    progress = desk.progress()
    async with progress.step("rollout"):
        watched = desk.events.watch(desk.events.latest)
        await desk.database.write(_no_more_pages)
        async with asyncio.timeout(30):
            await progress.tell("rollout", "x" * 100_000)
        assert (await anext(watched)).data["detail"]
        await desk.database.write(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchone()[0])
    (step,) = (await desk.now()).steps
    assert (step.status, step.detail) == ("done", "")


def _no_more_pages(connection: sqlite3.Connection) -> int:
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    return int(connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()[0])


async def test_a_step_that_fails_is_failed_and_the_error_goes_on(desk: Desk) -> None:
    with pytest.raises(RolloutFailed):
        async with desk.progress().step("candidate"):
            raise RolloutFailed("exited with code 3")
    assert [step.status for step in (await desk.now()).steps] == ["failed"]
    assert "<==" not in desk.log.text


async def test_a_step_that_is_cancelled_is_cancelled_and_the_cancellation_goes_on(desk: Desk) -> None:
    began = asyncio.Event()

    async def work() -> None:
        async with desk.progress().step("candidate"):
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await began.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert [step.status for step in (await desk.now()).steps] == ["cancelled"]


async def test_a_cancellation_goes_on_even_when_it_cannot_be_recorded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = asyncio.Event()

    async def refused(work: object) -> None:
        raise Unavailable("the disk is full")

    async def work() -> None:
        async with desk.progress().step("drain"):
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await began.wait()
    monkeypatch.setattr(desk.store._database, "write", refused)
    desk.store.stop_waiting()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


async def test_what_the_gates_say_is_recorded_and_a_warning_does_not_stop(desk: Desk) -> None:
    gates = [
        Says("ready", GateResult("ready", "passed", "after 0.1 s")),
        Says("golden", GateResult("golden", "warned", "slow")),
    ]
    await desk.progress(*gates).prove(a_candidate("http://192.0.2.1"))
    now = await desk.now()
    assert [gate.result for gate in gates] == list(now.gates)
    assert [(step.name, step.status) for step in now.steps] == [("ready", "done"), ("golden", "done")]
    assert "ready passed: after 0.1 s\n" in desk.log.text


async def test_the_first_gate_that_refuses_is_named_and_no_other_is_asked(desk: Desk) -> None:
    gates = [Says("golden", GateResult("golden", "failed", "3 differ")), Says("later", GateResult("later", "passed"))]
    with pytest.raises(RolloutFailed, match="the golden gate refused it: 3 differ"):
        await desk.progress(*gates).prove(a_candidate("http://192.0.2.1"))
    now = await desk.now()
    assert [gate.name for gate in now.gates] == ["golden"]
    assert [step.status for step in now.steps] == ["failed"]


async def test_what_a_candidate_says_of_its_model_is_recorded(desk: Desk) -> None:
    said = {"commit": COMMIT, "model": {"name": "iris", "accuracy": 0.97}}
    async with serving(lambda path, body: (200, as_json(said))) as address:
        await desk.progress().prove(a_candidate(address, ready={"commit_path": "/version"}))
    assert json.loads(json.dumps(dict((await desk.now()).model))) == said


async def test_a_candidate_that_says_nothing_of_its_model_is_proven_all_the_same(desk: Desk) -> None:
    async with serving(lambda path, body: (200, COMMIT.encode())) as address:
        await desk.progress().prove(a_candidate(address, ready={"commit_path": "/version"}))
    assert (await desk.now()).model == {}


async def test_the_cut_over_is_recorded_before_it_begins_and_live_when_it_is_done(desk: Desk) -> None:
    progress = desk.progress()
    await progress.cutting_over()
    assert (await desk.now()).status is Status.ROLLING_OUT
    await progress.serving()
    now = await desk.now()
    assert (now.status, now.live_at is not None) == (Status.LIVE, True)
    assert desk.log.text.endswith("iris/1 is live\n")


async def test_what_something_newer_outran_does_not_cut_over(desk: Desk) -> None:
    desk.outrun = True
    with pytest.raises(asyncio.CancelledError):
        await desk.progress().cutting_over()
    assert (await desk.now()).status is Status.CHECKING


async def test_an_image_with_its_digest_is_recorded(desk: Desk) -> None:
    image = Image("registry.example.com/iris", COMMIT, "sha256:0", "sha256:1")
    await desk.progress().pushed(image)
    assert (await desk.now()).image == image
