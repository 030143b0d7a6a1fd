import json
import time
from typing import Any

import pytest

from deployd.domain import GateResult
from deployd.gates.golden import GoldenGate, ImageReader
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
    answer: Any = half, content: bytes | None = GOLDEN, read_image: ImageReader | None = None, **golden: Any
) -> GateResult:
    files = {} if content is None else {"golden.json": content}
    async with serving(answer) as address, FakeContext("c", files) as context:
        candidate = a_candidate(address, golden={"file": "golden.json", **golden})
        return await GoldenGate(read_image).ask(candidate, context, FakeLog())


async def test_it_passes_when_every_answer_is_as_recorded() -> None:
    result = await ask()
    assert result.verdict == "passed"
    assert result.detail.startswith("12 of 12 answers equal, slowest ")


async def test_a_wrong_answer_fails_with_the_path_of_the_difference() -> None:
    result = await ask(lambda path, body: (200, as_json({"y": 0})))
    assert result == GateResult("golden", "failed", "case 2 of 12: $.y: 0, expected 0.5")


async def test_the_config_takes_precedence_over_the_file() -> None:
    assert (await ask(url="/elsewhere")).detail == "the warm-up call: /elsewhere answers 404: no such page"
    assert (await ask(lambda path, body: (200, as_json({"y": 0})), tolerance=6)).verdict == "passed"


@pytest.mark.slow
async def test_an_answer_that_takes_too_long_fails_but_the_first_may_warm_up() -> None:
    calls: list[str] = []

    def answer(path: str, body: bytes) -> Answer:
        calls.append(path)
        time.sleep(0.3 if len(calls) in {1, 6} else 0)
        return half(path, body)

    result = await ask(answer, latency="150ms")
    assert result.verdict == "failed"
    assert result.detail.startswith("case 5 of 12 took ")
    assert result.detail.endswith("at most 150 ms is allowed")


async def test_an_answer_that_is_not_json_fails() -> None:
    assert (await ask(lambda path, body: (200, b"<html>"))).detail == "case 1 of 12: the answer is not JSON: '<html>'"


async def test_a_deeply_nested_answer_fails() -> None:
    assert (
        await ask(lambda path, body: (200, b"[" * 200_000))
    ).detail == "case 1 of 12: the answer is nested too deeply"


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
