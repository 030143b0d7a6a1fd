"""What the gates promise on an engine and on a cluster: a bad model is refused for its rows or figures, what serves stays."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from deployd.config.app import App
from deployd.domain import Deploy
from deployd.errors import RolloutFailed
from deployd.gates.compare import CompareGate
from deployd.gates.evaluate import EvaluateGate
from deployd.gates.golden import GoldenGate
from deployd.gates.ready import ReadyGate
from deployd.ports.gate import Candidate, Gate
from deployd.ports.source import CommitFacts
from deployd.recorded import Recorded
from tests.contract.worlds import CLUSTER, ENGINE, World, world_on
from tests.fake_target import FakeProgress
from tests.fakes import FakeContext

_URL = "/cgi-bin/predict"
_ROWS = [(x, "FR" if x % 2 == 0 else "DE") for x in range(80)]
_LIMITS = {"at_least": 0.8, "not_worse_than_live": 0.2, "slice_not_worse_than_live": 0.05}
_GATES: Mapping[str, Any] = {
    "golden": {"file": "golden.json"},
    "evaluate": {
        "data": "eval.csv",
        "target": "label",
        "by": ["country"],
        "url": _URL,
        "metrics": {"accuracy": _LIMITS},
    },
    "compare": {},
}
# The label is left out, so that only labelled rows can tell that it is wrong.
_CASES = [{"request": {"instances": [{"x": x}]}, "response": {"predictions": [{"score": x}]}} for x in range(12)]
_FILES = {
    "golden.json": json.dumps({"url": _URL, "cases": _CASES}).encode(),
    "eval.csv": "".join(
        ["x,country,label\n", *(f"{x},{country},{'ab'[x % 3 == 0]}\n" for x, country in _ROWS)]
    ).encode(),
}
_BAD = {
    "swapped": r"the evaluate gate refused it: accuracy 0 on 80 rows is below 0\.8; accuracy 0 is worse than 1 of ",
    "slice": r"the evaluate gate refused it: country=FR: accuracy 0\.75 is worse than 1 of ",
    "nan": r"the golden gate refused it: case 8 of 12: \$\.predictions\[0\]\.score: NaN, expected 7$",
    "crash": r"exited with code 9|the golden gate refused it: case \d+ of 12: ",
    "slow": r"the compare gate refused it: 0 of 12 answers differ from .*: clearly more than 2 times as slow",
}


@pytest.fixture(params=[ENGINE, CLUSTER])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(request, tmp_path, **_GATES) as made:
        yield made


class Asked(FakeProgress):
    """Asks all gates of a candidate, as a passage does, with the files of one commit."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        super().__init__()
        self._gates = gates

    async def prove(self, candidate: Candidate) -> None:
        await super().prove(candidate)
        async with FakeContext("c0ffee", _FILES) as context:
            for gate in self._gates:
                result = await gate.ask(candidate, context, self.log)
                self.verdicts.append(result)
                if result.verdict == "failed":
                    raise RolloutFailed(f"the {result.name} gate refused it: {result.detail}")

    @property
    def found(self) -> Mapping[str, str]:
        """What each gate said."""
        return {result.name: result.verdict for result in self.verdicts}


class NeverEvaluated:
    """Nothing is recorded, so the live release is asked its rows, too."""

    async def of(self, app: str, number: int) -> None:
        return

    async def before(self, app: str, number: int) -> Sequence[Mapping[str, Any]]:
        return ()


async def _facts(app: App, deploy: Deploy) -> CommitFacts:
    return CommitFacts("Train a model", "Train a model", "Ada")


async def _nothing_sampled(app: str, count: int) -> Sequence[Recorded]:
    return ()


@pytest.fixture
async def gates(world: World) -> AsyncIterator[Sequence[Gate]]:
    """All that look at answers; the process that computes metrics is the same for all candidates."""
    async with EvaluateGate(world.app, NeverEvaluated()) as evaluate:
        yield ReadyGate(), GoldenGate(), evaluate, CompareGate(_facts, _nothing_sampled)


@pytest.mark.timeout(300)
async def test_each_bad_model_is_refused_by_the_rows_or_figures_that_are_wrong_and_a_good_one_passes(
    world: World, gates: Sequence[Gate]
) -> None:
    first = Asked(gates)
    await world.roll_out(1, first, image="well")
    assert first.found == {"ready": "passed", "golden": "passed", "evaluate": "passed", "compare": "not_judged"}
    second = Asked(gates)
    await world.roll_out(2, second, image="as-well")
    assert second.found == dict.fromkeys(("ready", "golden", "evaluate", "compare"), "passed")
    evaluated, compared = (second.verdicts[at].figures for at in (2, 3))
    assert (evaluated["live"], compared["live"]) == ({"accuracy": 1.0}, f"{world.app.name}/1")

    for number, (behaviour, why) in enumerate(_BAD.items(), start=3):
        print(behaviour)
        with pytest.raises(RolloutFailed, match=why):
            await world.prove(number, Asked(gates), image=behaviour)
        assert await world.serving() == 2
    with pytest.raises(RolloutFailed, match=_BAD["slice"]):
        await world.roll_out(9, Asked(gates), image="slice")
    assert (await world.serving(), await world.health(2)) == (2, "ok")
