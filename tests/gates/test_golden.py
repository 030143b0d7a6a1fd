import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from deployd.domain import GateResult
from deployd.gates.asking import Asker
from deployd.gates.files import ImageReader
from deployd.gates.golden import GoldenGate
from deployd.gates.golden_file import Exchange
from deployd.ports.gate import Candidate
from tests.fakes import FakeContext, FakeLog
from tests.gates.service import Answer, a_candidate, as_json, serving

CASES = [{"request": {"x": n}, "response": {"y": n * 0.5}} for n in range(12)]
GOLDEN = as_json({"url": "/half", "tolerance": 1e-6, "cases": CASES})


def half(path: str, body: bytes) -> Answer:
    return (
        (200, as_json({"y": json.loads(body)["x"] * 0.5, "model": "m"})) if path == "/half" else (404, b"no such page")
    )


async def ask(
    answer: Any = half,
    content: bytes | None = GOLDEN,
    read_image: ImageReader | None = None,
    log: FakeLog | None = None,
    **golden: Any,
) -> GateResult:
    files = {} if content is None else {"golden.json": content}
    async with serving(answer) as address, FakeContext("c", files) as context:
        candidate = a_candidate(address, golden={"file": "golden.json", **golden})
        return await GoldenGate(read_image).ask(candidate, context, log or FakeLog())


async def test_it_passes_when_every_answer_is_as_recorded() -> None:
    result = await ask()
    assert result.verdict == "passed"
    assert result.detail.startswith("12 of 12 answers equal, slowest ")


async def test_a_wrong_answer_fails_with_the_path_of_the_difference() -> None:
    log = FakeLog()
    result = await ask(lambda path, body: (200, as_json({"y": 0})), log=log)
    assert (result.verdict, result.detail) == ("failed", "case 2 of 12: $.y: 0, expected 0.5 (10 more of 12 are wrong)")
    assert result.figures["wrong"] == 11
    assert len(result.rows) == 10
    assert result.rows[0] == {
        "case": 2,
        "path": "$.y",
        "got": 0,
        "expected": 0.5,
        "difference": 0.5,
        "allowed": 1e-6,
        "text": "$.y: 0, expected 0.5",
    }
    assert log.text.splitlines()[1] == "case 3 of 12: $.y: 0, expected 1.0"


async def test_the_config_takes_precedence_over_the_file() -> None:
    assert (await ask(url="/elsewhere")).detail == "the warm-up call: /elsewhere answers 404: no such page"
    assert (await ask(lambda path, body: (200, as_json({"y": 0})), tolerance=6)).verdict == "passed"


@pytest.mark.slow
async def test_an_answer_that_takes_too_long_fails_but_the_first_may_warm_up() -> None:
    calls: list[int] = []

    def answer(path: str, body: bytes) -> Answer:
        calls.append(json.loads(body)["x"])
        time.sleep(0.2 if len(calls) == 1 or calls[-1] == 4 else 0)
        return half(path, body)

    result = await ask(answer, latency="150ms")
    assert result.verdict == "failed"
    assert result.detail.startswith("case 5 of 12: took 2")
    assert result.detail.endswith(" ms, at most 150 ms is allowed")
    assert result.figures["wrong"] == 1


async def test_an_answer_that_is_late_once_beside_others_is_asked_again_alone() -> None:
    calls: list[int] = []

    def answer(path: str, body: bytes) -> Answer:
        calls.append(json.loads(body)["x"])
        time.sleep(0.1 if calls.count(4) == 1 and calls[-1] == 4 else 0)
        return half(path, body)

    assert (await ask(answer, latency="80ms")).verdict == "passed"
    assert calls.count(4) == 2


async def asked(
    handle: Callable[[httpx.Request], Coroutine[None, None, httpx.Response]], count: int, at_once: int
) -> list[Any]:
    """The answers to so many requests of a service that does this."""
    transport = httpx.MockTransport(handle)
    async with httpx.AsyncClient(transport=transport, base_url="http://iris") as http:
        return await Asker(http).ask_all([Exchange("", "POST", "/", n, None) for n in range(count)], at_once)


async def test_no_more_requests_are_under_way_than_the_config_allows() -> None:
    now, most = 0, 0

    async def busy(_: httpx.Request) -> httpx.Response:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0.001)
        now -= 1
        return httpx.Response(200, json={})

    answers = await asked(busy, 20, 3)
    assert most == 3
    assert all(answer.ok for answer in answers)


async def test_a_service_that_stops_answering_is_not_asked_the_rest() -> None:
    calls = 0

    async def gone(request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        raise httpx.ConnectError("connection refused", request=request)

    answers = await asked(gone, 500, 4)
    assert calls < 20
    assert (answers[0].fault, answers[-1]) == ("/ does not answer: connection refused", None)


async def test_an_answer_that_is_not_json_fails() -> None:
    result = await ask(lambda path, body: (200, b"<html>"))
    assert result.detail == "case 1 of 12: the answer is not JSON: '<html>' (11 more of 12 are wrong)"


async def test_a_deeply_nested_answer_fails() -> None:
    result = await ask(lambda path, body: (200, b"[" * 200_000))
    assert result.detail.startswith("case 1 of 12: the answer is nested too deeply")


async def test_a_service_that_ends_at_a_case_is_told_with_the_cases_that_were_under_way() -> None:
    def answer(path: str, body: bytes) -> Answer:
        if json.loads(body)["x"] == 5:
            raise ConnectionResetError
        return half(path, body)

    result = await ask(answer, concurrency=1)
    assert result.detail.startswith("case 6 of 12: /half does not answer: ")
    assert result.detail.endswith("; it stopped answering at case 6")


async def test_a_service_that_stops_fails() -> None:
    async with serving(half) as address:
        pass
    async with FakeContext("c", {"golden.json": GOLDEN}) as context:
        result = await GoldenGate().ask(a_candidate(address, golden={"file": "golden.json"}), context, FakeLog())
    assert result.detail.startswith("the warm-up call: /half does not answer: ")


async def test_a_file_that_only_the_image_has_is_read_from_the_image() -> None:
    async def read(candidate: Candidate, path: str) -> bytes | None:
        return GOLDEN if path == "golden.json" else None

    assert (await ask(content=None, read_image=read)).verdict == "passed"


async def test_a_missing_file_fails() -> None:
    assert (await ask(content=None)).detail.startswith("golden.json is neither in the commit nor in the image")


async def test_an_app_without_golden_answers_passes_without_a_request() -> None:
    result = await GoldenGate().ask(a_candidate("http://127.0.0.1:1"), None, FakeLog())
    assert result == GateResult("golden", "passed", "the app has no golden answers")


RULES = {"$.p[*].scores": {"top_k": 1}, "$.id": {"ignore": True}}
SCORED = {"id": "first", "p": [{"scores": {"a": 0.9, "b": 0.1}}]}


def scored(answer: Any) -> Any:
    return lambda path, body: (200, as_json(answer))


async def test_the_rules_of_the_file_and_of_the_config_hold_together() -> None:
    content = as_json({"rules": RULES, "cases": [{"request": 1, "response": SCORED}]})
    other = {"id": "second", "p": [{"scores": {"a": 0.6, "b": 0.4}}]}
    assert (await ask(scored(other), content)).verdict == "passed"
    result = await ask(scored(other), content, rules={"$.p[*].scores": {"absolute": 0.2}})
    assert result.detail == "case 1 of 1: $.p[0].scores.a: 0.6, expected 0.9"
    assert result.rows[0]["more"] == 1


async def test_a_rule_that_names_nothing_fails() -> None:
    result = await ask(rules={"$.z": {"ignore": True}})
    assert (
        result.detail
        == 'the rule for "$.z" matches nothing in any expected answer (correct its path, or remove the rule)'
    )


async def test_a_case_can_expect_a_refusal() -> None:
    case = {"name": "no rows", "request": {}, "response": {"error": "rows"}, "status": 422}
    content = as_json({"cases": [case]})
    assert (await ask(lambda path, body: (422, as_json({"error": "rows"})), content)).verdict == "passed"
    result = await ask(lambda path, body: (200, as_json({"error": "rows"})), content)
    assert result.detail == "case 1 of 1 (no rows): /predict answers 200, expected 422"


async def test_answers_of_the_open_inference_protocol_are_compared_by_the_names_of_their_tensors() -> None:
    content = as_json({"model": "m", "cases": [{"inputs": {"x": [1.5]}, "outputs": {"y": [3.0]}}]})

    def answer(path: str, body: bytes) -> Answer:
        assert path == "/v2/models/m/infer"
        value = json.loads(body)["inputs"][0]["data"][0] * 2
        return 200, as_json({"outputs": [{"name": "z", "data": [0]}, {"name": "y", "data": [[value]]}]})

    assert (await ask(answer, content)).verdict == "passed"
    wrong = await ask(lambda path, body: (200, as_json({"outputs": [{"name": "y", "data": [float("nan")]}]})), content)
    assert wrong.detail == "case 1 of 1: $.outputs.y[0]: NaN, expected 3.0"
    assert wrong.rows[0]["got"] == "NaN"


async def test_a_file_whose_responses_say_nothing_proves_nothing() -> None:
    result = await ask(
        content=as_json({"cases": [{"request": 1, "response": {}}, {"request": 2, "response": {"a": {}}}]})
    )
    assert result.detail.startswith("golden.json proves nothing: all its responses are empty")
