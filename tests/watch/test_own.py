"""The sign of an app's own gate after the switch: asked once, and its verdict stands."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deployd.config.app import App
from deployd.domain import GateResult
from deployd.errors import ConfigError
from deployd.watch.own import OwnVerdict
from deployd.watch.requests import Baseline
from deployd.watch.stage import OneWatch, Watch
from tests.desk import REPO
from tests.fake_target import FakeTarget
from tests.fakes import FakeLog, FakeSource
from tests.watch.test_stage import LIVE, OLD, Golden, Told


class Asked:
    """Gives one answer after the other, and counts."""

    def __init__(self, *answers: GateResult | None) -> None:
        self.answers = list(answers)
        self.times = 0

    async def __call__(self) -> GateResult | None:
        self.times += 1
        return self.answers.pop(0)


async def test_the_gate_is_asked_until_its_first_verdict_which_stands() -> None:
    ask = Asked(None, GateResult("fairness", "failed", "gap 0.2", {"gap": 0.2}))
    sign = OwnVerdict("fairness", ask)
    assert [await sign.measure() for _ in range(3)] == ["", *["the fairness gate refused it: gap 0.2"] * 2]
    assert ask.times == 2
    assert sign.result() == GateResult("fairness", "failed", "gap 0.2", {"gap": 0.2}, moment="after")


@pytest.mark.parametrize("verdict", ["passed", "warned", "not_judged"])
async def test_a_verdict_that_is_no_refusal_is_recorded_and_returns_no_traffic(verdict: Any) -> None:
    sign = OwnVerdict("fairness", Asked(GateResult("fairness", verdict)))
    assert await sign.measure() == ""
    assert sign.result() == GateResult("fairness", verdict, moment="after")


async def test_a_gate_that_gave_no_verdict_in_the_watch_is_not_judged() -> None:
    result = OwnVerdict("fairness", Asked()).result()
    assert (result.verdict, result.detail) == ("not_judged", "the watch was over before its verdict")


async def test_a_gate_that_cannot_be_run_is_not_judged_for_that_reason() -> None:
    async def ask() -> GateResult | None:
        raise ConfigError("there is no command /nowhere")

    sign = OwnVerdict("fairness", ask)
    with pytest.raises(ConfigError):
        await sign.measure()
    assert sign.result().detail == "there is no command /nowhere"


async def _begun(command: str, log: FakeLog, length: str = "1h") -> OneWatch:
    target = FakeTarget()
    target.containers["iris"] = {1, 2}
    gates = [
        {"name": "fairness", "when": "after", "command": command},
        {"name": "never", "command": "exit 1"},
    ]
    settings = {"name": "iris", "repo": REPO, "branch": "main", "gateway": {"listen": 8000}}
    app = App.model_validate({**settings, "gate": gates, "golden": {"file": "golden.json"}, "watch": {"for": length}})
    return await Watch({"docker": target}, FakeSource(), lambda _: [Golden()]).begin(app, LIVE, OLD, log, Baseline())


async def test_a_command_that_refuses_the_release_beside_the_one_before_returns_the_traffic() -> None:
    log = FakeLog()
    watching = await _begun('echo "$DEPLOYD_DEPLOY $DEPLOYD_CANDIDATE_URL $DEPLOYD_LIVE_URL"; exit 1', log)
    reason = await watching.run(Told())
    assert reason == "the fairness gate refused it: exited with code 1: 2 http://192.0.2.1 http://192.0.2.1"
    assert log.text == "2 http://192.0.2.1 http://192.0.2.1\n"
    (result,) = [one for one in watching.results(log) if one.name == "fairness"]
    assert (result.verdict, result.moment) == ("failed", "after")
    assert "never" not in [one.name for one in watching.results(log)]


@pytest.mark.slow
async def test_a_command_that_runs_longer_than_the_watch_is_killed_with_it(tmp_path: Path) -> None:
    watching = await _begun(f"echo $$ > {tmp_path}/pid; exec sleep 600", FakeLog(), "1s")
    run = asyncio.create_task(watching.run(Told()))
    assert await run == ""
    (result,) = [one for one in watching.results(FakeLog()) if one.name == "fairness"]
    assert result.verdict == "not_judged"
    pid = int((tmp_path / "pid").read_text())
    assert not (Path("/proc") / str(pid)).exists()
