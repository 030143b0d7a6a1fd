import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from msgspec.structs import replace

from deployd.config.app import App
from deployd.domain import Deploy, GateResult
from deployd.gates.compare import CompareGate
from deployd.goal import Trigger
from deployd.ports.gate import Serving
from deployd.ports.source import CommitFacts
from deployd.recorded import Recorded
from tests.fakes import FakeContext, FakeLog
from tests.gates.service import Answer, a_candidate, as_json, serving

GOLDEN = as_json({"url": "/half", "cases": [{"request": {"x": n}, "response": {"y": n * 0.5}} for n in range(40)]})
LINES = b"\n".join(as_json({"method": "POST", "path": f"/half?n={n}", "body": {"x": n}}) for n in range(40))


def half(off: float = 0.0, only: int = 40, **more: Any) -> Callable[[str, bytes], Answer]:
    """Answers x / 2 for all, and `off` more for the first `only`."""

    def answer(path: str, body: bytes) -> Answer:
        x = json.loads(body)["x"]
        return 200, as_json({"y": x * 0.5 + (off if x < only else 0), **more})

    return answer


async def compared(
    live: Callable[[str, bytes], Answer] | None,
    candidate: Callable[[str, bytes], Answer],
    message: str = "Retrain",
    deploy: dict[str, Any] | None = None,
    takes: float = 0.0,
    sampled: Sequence[Recorded] = (),
    **compare: Any,
) -> GateResult:
    async def facts(_: App, __: Deploy) -> CommitFacts:
        return CommitFacts(message, message, "Ada")

    async def recorded(app: str, count: int) -> Sequence[Recorded]:
        assert app == "iris"
        return sampled[:count]

    files = {"golden.json": GOLDEN, "requests.jsonl": LINES}
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serving(candidate, takes))
        context = await stack.enter_async_context(FakeContext("c", files))
        asked = a_candidate(address, golden={"file": "golden.json"}, compare=compare, record={})
        old = Serving(41, await stack.enter_async_context(serving(live))) if live is not None else None
        asked = type(asked)(asked.app, replace(asked.deploy, **(deploy or {})), address, asked.image, {}, old)
        return await CompareGate(facts, recorded).ask(asked, context, FakeLog())


async def test_equal_answers_pass_with_the_figures() -> None:
    result = await compared(half(), half())
    assert result.verdict == "passed"
    assert result.detail.startswith("0 of 40 answers differ from iris/41; ")
    assert result.figures["n"] == 40
    assert result.figures["latency_ratio"] > 0


async def test_many_other_answers_are_refused_with_the_first_rows() -> None:
    result = await compared(half(), half(off=0.25))
    assert result.verdict == "failed"
    assert "40 of 40 answers differ from iris/41, numbers by up to 0.25; " in result.detail
    assert "clearly more than 10%; request 1: $.y: 0.25, expected 0.0" in result.detail
    assert (result.figures["largest_difference"], result.figures["mean_difference"]) == (0.25, 0.25)
    assert len(result.rows) == 10


async def test_recorded_requests_are_compared() -> None:
    clients = [Recorded("/half", "POST", {"x": x}) for x in range(40)]
    assert (await compared(half(), half(), sampled=clients, requests="recorded")).figures["n"] == 40
    result = await compared(half(), half(off=1), sampled=clients, requests="recorded")
    assert result.verdict == "failed"
    assert result.rows[0] == {"request": 1, "path": "$.y", "text": "request 1: $.y is another"}


async def test_without_a_recorded_request_nothing_is_judged() -> None:
    result = await compared(half(), half(off=1), requests="recorded")
    assert (result.verdict, result.detail) == ("not_judged", "no requests of clients are recorded yet")


async def test_few_other_answers_warn() -> None:
    result = await compared(half(), half(off=1, only=4))
    assert (result.verdict, result.figures["share"]) == ("warned", 0.1)


async def test_the_trailer_of_the_commit_accepts_other_answers_and_says_whose_it_is() -> None:
    result = await compared(half(), half(off=1), "Retrain\n\nDeployd-Expect: new-predictions\n")
    assert result.verdict == "warned"
    assert result.figures["accepted"] == "Ada's commit says Deployd-Expect: new-predictions"


async def test_a_person_accepts_other_answers() -> None:
    deploy = {"accept_changes": True, "trigger": Trigger("manual", by="eve")}
    result = await compared(half(), half(off=1), deploy=deploy)
    assert (result.verdict, result.figures["accepted"]) == ("warned", "eve deployed it with accept_changes")


async def test_a_rollback_is_not_compared_with_what_it_leaves() -> None:
    assert (await compared(half(), half(off=1), deploy={"rollback_to": 3})).verdict == "not_judged"


async def test_only_what_the_golden_answers_name_is_compared() -> None:
    assert (await compared(half(model="1"), half(model="2"))).verdict == "passed"


async def test_requests_of_a_file_are_compared_whole_but_for_what_names_the_model() -> None:
    old, new = half(model={"version": 1}, z=1), half(model={"version": 2}, z=2)
    result = await compared(old, new, requests="file:requests.jsonl")
    assert result.rows[0]["text"] == "request 1: $.z: 2, expected 1"
    ignored = await compared(old, new, requests="file:requests.jsonl", rules={"$.z": {"ignore": True}})
    assert ignored.verdict == "passed"


async def test_a_value_that_the_live_release_itself_changes_is_no_difference() -> None:
    count = 0

    def random(path: str, body: bytes) -> Answer:
        nonlocal count
        count += 1
        return half(z=count)(path, body)

    assert (await compared(random, half(z=0), requests="file:requests.jsonl")).verdict == "passed"


async def test_an_error_instead_of_an_answer_is_a_difference() -> None:
    result = await compared(half(), lambda path, body: (500, b"no model"))
    assert result.verdict == "failed"
    assert result.rows[0]["text"] == "request 1: /half answers 500: no model, 200 before"


@pytest.mark.slow
async def test_a_candidate_that_is_clearly_slower_is_refused_even_when_other_answers_are_accepted() -> None:
    result = await compared(half(), half(off=1), deploy={"accept_changes": True}, takes=0.3, most=20)
    assert result.verdict == "failed"
    assert "clearly more than 2 times as slow" in result.detail


async def test_without_a_live_release_there_is_no_verdict() -> None:
    assert (await compared(None, half())).verdict == "not_judged"


async def test_a_live_release_that_does_not_answer_gives_no_verdict() -> None:
    async with serving(half()) as address:
        pass
    candidate = a_candidate(address, golden={"file": "golden.json"}, compare={})
    async with serving(half()) as new, FakeContext("c", {"golden.json": GOLDEN}) as context:
        asked = type(candidate)(candidate.app, candidate.deploy, new, candidate.image, {}, Serving(41, address))

        async def facts(_: App, __: Deploy) -> CommitFacts:
            raise AssertionError

        async def recorded(app: str, count: int) -> Sequence[Recorded]:
            raise AssertionError

        result = await CompareGate(facts, recorded).ask(asked, context, FakeLog())
    assert (result.verdict, result.detail) == ("not_judged", "iris/41 gave no answer to compare with")


async def test_a_rule_that_names_nothing_fails() -> None:
    result = await compared(half(), half(), rules={"$.q": {"ignore": True}})
    assert result.detail == 'the rule for "$.q" matches nothing in any answer of the live release'


def test_golden_requests_need_a_golden_table() -> None:
    with pytest.raises(ValueError, match=r"needs a table \[app.golden\]"):
        a_candidate("http://127.0.0.1:1", compare={})


async def test_a_candidate_that_stops_answering_is_refused_without_asking_all() -> None:
    asked: list[bytes] = []

    def counted(path: str, body: bytes) -> Answer:
        asked.append(body)
        return half()(path, body)

    def gone(path: str, body: bytes) -> Answer:
        raise ConnectionResetError

    result = await compared(counted, gone)
    assert result.verdict == "failed"
    assert "request 1: /half does not answer: " in result.rows[0]["text"]
    assert len(asked) < 40


async def test_an_answer_that_is_no_number_any_more_is_a_difference() -> None:
    result = await compared(half(), half(off=float("nan")))
    assert result.verdict == "failed"
    assert result.rows[0] == {
        "request": 1,
        "path": "$.y",
        "got": "NaN",
        "expected": 0.0,
        "text": "request 1: $.y: NaN, expected 0.0",
    }
