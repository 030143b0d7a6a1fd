"""The gate against a real server and the real process that computes the metrics."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from deployd.domain import GateResult
from deployd.gates.evaluate import EvaluateGate
from deployd.gates.scoring import scoring, unable
from deployd.ports.gate import Candidate, Serving
from tests.fakes import FakeContext, FakeLog
from tests.gates.service import Answer, a_candidate, as_json, serving

pytestmark = pytest.mark.slow  # the process imports scikit-learn

COUNT = 120
CSV = "x,country,species\n" + "".join(f"{n},{'DE' if n % 2 else 'FR'},{'ab'[n % 3 == 0]}\n" for n in range(COUNT))
METRICS = {"accuracy": {"at_least": 0.9, "not_worse_than_live": 0.01}}
Predict = Callable[[int], Any]


def right(x: int) -> str:
    return "ab"[x % 3 == 0]


def swapped(x: int) -> str:
    return "ba"[x % 3 == 0]


def wrong_for(*rows: int) -> Predict:
    return lambda x: swapped(x) if x in rows else right(x)


def predicting(predict: Predict, seen: list[dict[str, Any]] | None = None) -> Callable[[str, bytes], Answer]:
    def answer(path: str, body: bytes) -> Answer:
        rows = json.loads(body)["instances"]
        if seen is not None:
            seen.extend(rows)
        return 200, as_json({"predictions": [{"label": predict(row["x"])} for row in rows]})

    return answer


class Figures:
    """What is recorded: of the live release, iris/41, and of the deploys before the candidate's."""

    def __init__(self, of_live: Mapping[str, Any] | None = None, earlier: Sequence[Mapping[str, Any]] = ()) -> None:
        self._of_live = of_live
        self._earlier = earlier

    async def of(self, app: str, number: int) -> Mapping[str, Any] | None:
        assert (app, number) == ("iris", 41)
        return self._of_live

    async def before(self, app: str, number: int) -> Sequence[Mapping[str, Any]]:
        assert (app, number) == ("iris", 1)
        return self._earlier


async def evaluated(
    candidate: Predict | Callable[[str, bytes], Answer],
    live: Predict | None = None,
    recorded: Mapping[str, Any] | None = None,
    *,
    earlier: Sequence[Mapping[str, Any]] = (),
    seen: list[dict[str, Any]] | None = None,
    raw: bool = False,
    csv: str = CSV,
    **evaluate: Any,
) -> GateResult:
    """`live` is only asked when it is given; a recorded figure alone comes from a release that would fail the test when asked."""
    table = {"data": "eval.csv", "target": "species", "metrics": METRICS, **evaluate}

    async with AsyncExitStack() as stack:
        answer: Any = candidate
        address = await stack.enter_async_context(serving(answer if raw else predicting(answer, seen)))
        context = await stack.enter_async_context(FakeContext("c", {"eval.csv": csv.encode()}))
        asked = a_candidate(address, evaluate=table)
        old = None
        if live is not None or recorded is not None:
            old = Serving(41, await stack.enter_async_context(serving(predicting(live or _never))))
        gate = await stack.enter_async_context(EvaluateGate(asked.app, Figures(recorded, earlier)))
        asked = Candidate(asked.app, asked.deploy, address, asked.image, {}, old)
        return await gate.ask(asked, context, FakeLog())


def _never(x: int) -> str:
    raise AssertionError("the live release was asked")


async def test_a_good_model_passes_and_the_label_is_not_sent() -> None:
    seen: list[dict[str, Any]] = []
    result = await evaluated(right, right, seen=seen, drop=["country"], by=["country"])
    assert (result.verdict, result.detail) == ("passed", "accuracy 1 on 120 rows")
    assert (result.figures["n"], result.figures["accuracy"], result.figures["live"]) == (120, 1.0, {"accuracy": 1.0})
    assert result.figures["slices"] == {
        "country=FR": {"n": 60, "accuracy": 1.0},
        "country=DE": {"n": 60, "accuracy": 1.0},
    }
    assert result.figures["limits"] == METRICS
    assert {tuple(row) for row in seen} == {("x",)}
    assert len(seen) == COUNT


async def test_swapped_labels_are_refused_by_the_figure_and_against_the_live_release() -> None:
    result = await evaluated(swapped, right)
    assert result.verdict == "failed"
    assert result.detail.startswith(
        "accuracy 0 on 120 rows is below 0.9; accuracy 0 is worse than 1 of iris/41 (120 rows, "
    )
    assert result.rows[0] == {"row": 1, "text": "row 1: wrong, and right before"}


async def test_a_drop_that_may_be_chance_only_warns() -> None:
    result = await evaluated(wrong_for(1, 2, 3), right)
    assert result.verdict == "warned"
    assert "which may be chance (120 rows, at most 0.01 worse is allowed, p 0.12)" in result.detail


async def test_a_model_that_is_worse_on_one_slice_is_refused_by_that_slice() -> None:
    bad = [x for x in range(COUNT) if x % 2][:11]
    result = await evaluated(wrong_for(*bad), right, by=["country"], metrics={"accuracy": {"not_worse_than_live": 0.2}})
    assert result.verdict == "passed"  # the slices get the same margin
    tight = {"accuracy": {"not_worse_than_live": 0.2, "slice_not_worse_than_live": 0.05, "slice_at_least": 0.85}}
    result = await evaluated(wrong_for(*bad), right, by=["country"], metrics=tight)
    assert result.verdict == "failed"
    assert "country=DE: accuracy 0.8167 is below 0.85" in result.detail
    assert "country=DE: accuracy 0.8167 is worse than 1 of iris/41 (60 rows" in result.detail
    assert "country=FR" not in result.detail


async def test_the_recorded_figure_of_the_live_release_is_used_for_the_same_rows() -> None:
    first = await evaluated(right)
    assert (await evaluated(right, recorded=first.figures)).verdict == "passed"


async def test_the_live_release_is_asked_when_its_figure_is_of_other_rows_or_does_not_settle_it() -> None:
    first = await evaluated(right)
    other = await evaluated(right, right, recorded={**first.figures, "data": "sha256:0", "accuracy": 0.0})
    assert other.figures["live"] == {"accuracy": 1.0}
    worse = await evaluated(swapped, right, recorded=first.figures, metrics={"accuracy": {"not_worse_than_live": 0.01}})
    assert worse.verdict == "failed"


async def test_strict_refuses_where_few_rows_cannot_show_that_it_is_not_worse() -> None:
    result = await evaluated(right, right, strict=True)
    assert result.verdict == "failed"
    assert "(120 rows, strict: less than 0.01 must be sure)" in result.detail
    wide = {"accuracy": {"not_worse_than_live": 0.05}}
    assert (await evaluated(right, right, strict=True, metrics=wide)).verdict == "passed"


async def test_an_answer_without_a_prediction_is_refused_by_its_row() -> None:
    result = await evaluated(lambda x: float("nan") if x == 6 else right(x))
    assert (result.verdict, result.detail) == ("failed", "row 7: the answer is NaN, expected a label")
    assert result.rows == ({"row": 7, "text": "row 7: the answer is NaN, expected a label"},)


async def test_numbers_are_evaluated_with_a_margin_that_is_a_share_of_the_live_figure() -> None:
    csv = "x,species\n" + "".join(f"{n},{n * 2}\n" for n in range(COUNT))

    def numbers(factor: float) -> Any:
        return lambda path, body: (
            200,
            as_json({"out": [row["x"] * 2 + factor for row in json.loads(body)["instances"]]}),
        )

    metrics = {"rmse": {"at_most": 1.0}, "r2": {"at_least": 0.9}}
    good = await evaluated(numbers(0.5), raw=True, csv=csv, metrics=metrics, prediction="$.out[*]")
    assert (good.verdict, good.figures["rmse"]) == ("passed", 0.5)
    bad = await evaluated(numbers(1.5), raw=True, csv=csv, metrics=metrics, prediction="$.out[*]")
    assert bad.detail == "rmse 1.5 on 120 rows is above 1"


async def test_an_answer_of_another_form_is_told_with_the_path() -> None:
    result = await evaluated(lambda path, body: (200, as_json({"predictions": []})), raw=True)
    assert result.detail == "rows 1 to 32: the answer has 0 values at $.predictions[*].label, expected 32"
    refused = await evaluated(lambda path, body: (422, as_json({"error": "x is missing"})), raw=True)
    assert refused.detail == 'rows 1 to 32: /predict answers 422: {"error": "x is missing"}'


async def test_a_live_release_that_cannot_be_asked_only_warns() -> None:
    result = await evaluated(right, lambda x: None)
    assert result.verdict == "warned"
    assert "iris/41 cannot be compared: row 1: the answer is null, expected a label" in result.detail


async def test_a_python_without_scikit_learn_is_told() -> None:
    assert (await evaluated(right, python="/nowhere/python")).detail == (
        "/nowhere/python cannot be started: No such file or directory (check app.evaluate.python)"
    )
    assert await unable(sys.executable) == ""
    assert "cannot be started" in await unable("/nowhere/python")


async def test_it_counts_how_often_the_same_rows_have_judged() -> None:
    first = (await evaluated(right)).figures
    assert first["judged"] == 1
    second = (await evaluated(right, earlier=[{"data": "others", "judged": 7}, first])).figures
    assert second["judged"] == 2
    assert (await evaluated(right, earlier=[second, first])).figures["judged"] == 3
    assert (await evaluated(right, earlier=[second], csv=CSV + "500,DE,a\n")).figures["judged"] == 1


async def test_a_cancelled_evaluation_leaves_no_process() -> None:
    async def wait() -> None:
        async with scoring(None) as found:
            pids.append(found.pid)
            begun.set()
            await asyncio.Event().wait()

    pids: list[int] = []
    begun = asyncio.Event()
    task = asyncio.create_task(wait())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


async def test_the_process_gets_no_secret_of_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOYD_SECRET", "hunter2")
    async with scoring(None) as found:
        await found.ask({"expected": [], "slices": {}, "metrics": [], "numeric": False})
        environ = await asyncio.to_thread(Path(f"/proc/{found.pid}/environ").read_bytes)
        assert b"hunter2" not in environ


async def test_rows_are_sent_as_lists_to_services_that_want_them_so() -> None:
    def kserve(path: str, body: bytes) -> Answer:
        return 200, as_json({"predictions": [right(x) for x, country in json.loads(body)["instances"]]})

    result = await evaluated(kserve, raw=True, rows="lists", prediction="$.predictions[*]")
    assert result.detail == "accuracy 1 on 120 rows"


async def test_a_rollback_to_a_worse_model_is_not_refused() -> None:
    app = a_candidate("http://127.0.0.1:1", evaluate={"data": "e.csv", "target": "species", "metrics": METRICS})
    back = Candidate(app.app, replace(app.deploy, rollback_to=3), app.address, app.image)
    assert (await EvaluateGate(app.app, Figures()).ask(back, None, FakeLog())).verdict == "not_judged"
