"""What the pipeline decides while the target rolls out: may the candidate have traffic, may it still, has it."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pytest

from deployd.config.app import App
from deployd.domain import Deploy, GateResult, Image
from deployd.errors import RolloutFailed
from deployd.goal import Trigger, Wanted
from deployd.ports.gate import Candidate
from deployd.ports.log import Log
from deployd.ports.source import Context
from deployd.ports.target import Progress
from deployd.status import Status
from tests.desk import MAIN
from tests.gates.service import as_json, serving
from tests.works import Works, works

Rollout = Callable[[App, Deploy, Image, Progress], Coroutine[Any, Any, None]]


class FakeGate:
    """Says what it is told to say."""

    def __init__(self, name: str, verdict: str, detail: str = "") -> None:
        self.name = name
        self.asked: list[str] = []
        self._result = GateResult(name, verdict, detail)  # type: ignore[arg-type]

    async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:
        assert context is not None
        assert await context.read("model") is not None
        self.asked.append(candidate.deploy.name)
        return self._result


class SlowGate(FakeGate):
    """Has something to get ready before it can be asked."""

    life = ""

    async def __aenter__(self) -> Self:
        self.life += "ready "
        return self

    async def __aexit__(self, *_: object) -> None:
        self.life += "gone "


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Works]:
    """An app that is paused, so that nothing but `_run` runs its deploys."""
    async with works(tmp_path) as made:
        await made.scheduler.pause("iris", paused=True)
        yield made


async def _run(daemon: Works, rollout: Rollout | None = None, *, outrun: bool = False) -> Deploy:
    """Bring a new commit live with the pipeline alone; the deploy as it is recorded then."""

    async def newer() -> bool:
        return not outrun

    if rollout is not None:
        daemon.target.roll_out = rollout  # type: ignore[assignment,method-assign]
    deploy = await daemon.store.queue(Wanted("iris", daemon.commit(), MAIN, Trigger("manual")))
    await daemon.pipeline.run(daemon.config.app[0], deploy, newer)
    return await _now(daemon)


async def _now(daemon: Works) -> Deploy:
    found = await daemon.store.deploy("iris", 1)
    assert found is not None
    return found


async def _log(daemon: Works) -> str:
    return b"".join([block async for block in daemon.logs.read("iris", 1)]).decode()


def _proving(address: str) -> Rollout:
    """Prove a candidate that can be asked for its commit."""

    async def prove(app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        ready = app.ready.model_copy(update={"commit_path": "/version"})
        await progress.prove(Candidate(app.model_copy(update={"ready": ready}), deploy, address, image))

    return prove


async def test_verdicts_are_recorded_and_a_warning_does_not_stop_the_deploy(daemon: Works) -> None:
    daemon.gates = [FakeGate("ready", "passed", "after 0.1 s"), FakeGate("golden", "warned", "slow")]
    deploy = await _run(daemon)
    assert deploy.status is Status.LIVE
    assert deploy.gates == (GateResult("ready", "passed", "after 0.1 s"), GateResult("golden", "warned", "slow"))
    assert [step.name for step in deploy.steps] == ["fetch", "build", "candidate", "ready", "golden", "cut-over"]
    assert {step.status for step in deploy.steps} == {"done"}
    assert "ready passed: after 0.1 s\n" in await _log(daemon)


async def test_gates_are_asked_in_turn_and_the_first_that_refuses_ends_it(daemon: Works) -> None:
    passes, refuses = FakeGate("ready", "passed"), FakeGate("golden", "failed", "3 of 10 answers differ")
    never = FakeGate("later", "passed")
    daemon.gates = [passes, refuses, never]
    with pytest.raises(RolloutFailed, match="the golden gate refused it: 3 of 10 answers differ"):
        await _run(daemon)
    failed = await _now(daemon)
    assert [(gate.name, gate.verdict) for gate in failed.gates] == [("ready", "passed"), ("golden", "failed")]
    assert (passes.asked, refuses.asked, never.asked) == (["iris/1"], ["iris/1"], [])
    assert [step.status for step in failed.steps if step.name == "golden"] == ["failed"]
    assert daemon.target.live == {}


@pytest.mark.parametrize("verdict", ["passed", "failed"])
async def test_a_gate_gets_ready_before_the_candidate_starts_and_is_let_go_when_all_were_asked(
    daemon: Works, verdict: str
) -> None:
    slow, last = SlowGate("slow", "passed"), FakeGate("last", verdict)
    daemon.gates = [FakeGate("ready", "passed"), slow, last]
    lives: list[str] = []

    async def rollout(app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        lives.append(slow.life)
        with suppress(RolloutFailed):
            await progress.prove(Candidate(app, deploy, "http://127.0.0.1:1", image))
        lives.append(slow.life)

    await _run(daemon, rollout)
    assert (lives, slow.life) == (["ready ", "ready gone "], "ready gone ")
    assert slow.asked == ["iris/1"]


async def test_a_gate_that_got_ready_is_let_go_when_the_rollout_fails_before_it_is_asked(daemon: Works) -> None:
    slow = SlowGate("slow", "passed")
    daemon.gates = [FakeGate("ready", "passed"), slow]

    async def rollout(app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        raise RolloutFailed("exited with code 1")

    with pytest.raises(RolloutFailed):
        await _run(daemon, rollout)
    assert slow.life == "ready gone "


async def test_the_candidates_report_on_its_model_is_recorded(daemon: Works) -> None:
    said: dict[str, Any] = {"commit": "c0ffee", "model": {"name": "iris", "accuracy": 0.97}}
    async with serving(lambda path, body: (200, as_json(said))) as address:
        deploy = await _run(daemon, _proving(address))
    assert json.loads(json.dumps(dict(deploy.model))) == said


async def test_the_model_of_a_candidate_that_is_ready_is_recorded_though_a_later_gate_refuses_it(daemon: Works) -> None:
    daemon.gates = [FakeGate("ready", "passed"), FakeGate("golden", "failed")]
    async with serving(lambda _path, _body: (200, as_json({"version": "7"}))) as address:
        with pytest.raises(RolloutFailed):
            await _run(daemon, _proving(address))
    assert (await _now(daemon)).model == {"version": "7"}


async def test_a_candidate_that_says_nothing_of_its_model_is_proven_all_the_same(daemon: Works) -> None:
    async with serving(lambda path, body: (200, b"c0ffee")) as address:
        deploy = await _run(daemon, _proving(address))
    assert deploy.model == {}


async def test_the_cut_over_is_recorded_before_it_begins_and_live_at_the_switch(daemon: Works) -> None:
    seen: list[tuple[Status, bool]] = []

    async def rollout(app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        for moment in (progress.cutting_over, progress.serving):
            await moment()
            now = await _now(daemon)
            seen.append((now.status, now.live_at is not None))

    await _run(daemon, rollout)
    assert seen == [(Status.ROLLING_OUT, False), (Status.LIVE, True)]
    assert (await _log(daemon)).endswith("iris/1 is live\n")


async def test_a_deploy_that_a_newer_one_supersedes_does_not_cut_over(daemon: Works) -> None:
    with pytest.raises(asyncio.CancelledError):
        await _run(daemon, outrun=True)
    assert (await _now(daemon)).status is Status.CHECKING
    assert daemon.target.live == {}
    assert (await _log(daemon)).endswith("iris/1 was stopped\n")


async def test_the_digest_that_a_registry_gives_an_image_is_recorded(daemon: Works) -> None:
    pushed = Image("registry.example.com/iris", "a" * 40, "sha256:0", "sha256:1")

    async def rollout(app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        await progress.pushed(pushed)

    assert (await _run(daemon, rollout)).image == pushed


async def test_a_secret_that_a_failure_quotes_is_in_no_reason_hint_gate_or_log(daemon: Works) -> None:
    class Quoting(FakeGate):
        async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:
            log.hide("hunter2-hunter2")
            return await super().ask(candidate, context, log)

    daemon.gates = [Quoting("ready", "passed", "said hunter2-hunter2")]

    async def crashing(app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        await progress.prove(Candidate(app, deploy, "http://192.0.2.1", image))
        raise RolloutFailed("cannot connect to hunter2-hunter2", hint="last words: hunter2-hunter2")

    with pytest.raises(RolloutFailed) as failed:
        await _run(daemon, crashing)
    assert (failed.value.message, failed.value.hint) == ("cannot connect to ***", "last words: ***")
    assert (await _now(daemon)).gates == (GateResult("ready", "passed", "said ***"),)
    assert "hunter2" not in await _log(daemon)


class AnyGate(FakeGate):
    """Takes a commit that is not there."""

    async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:
        self.asked.append(f"{candidate.deploy.name} {'with' if context is not None else 'without'} its commit")
        return self._result


@pytest.mark.slow
async def test_a_rollback_has_its_commit_for_the_golden_file_and_needs_no_remote_to_come_back(tmp_path: Path) -> None:
    async with works(tmp_path, {"golden": {"file": "model"}}) as daemon:
        golden = AnyGate("golden", "passed")
        daemon.gates = [FakeGate("ready", "passed"), golden]
        for _ in range(2):
            await daemon.becomes(await daemon.deployed(daemon.commit()), Status.LIVE)
        await daemon.becomes(await daemon.scheduler.rollback("iris", None, "ada"), Status.LIVE)
        daemon.gates = [golden]
        shutil.rmtree(daemon.repository.path)
        for mirror in await asyncio.to_thread(lambda: [*tmp_path.rglob("*.git")]):
            shutil.rmtree(mirror, ignore_errors=True)
        await daemon.becomes(await daemon.scheduler.rollback("iris", 2, "ada"), Status.LIVE)
    assert golden.asked[2:] == ["iris/3 with its commit", "iris/4 without its commit"]
