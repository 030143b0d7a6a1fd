import json
from collections.abc import Callable
from typing import Any

import pytest

from deployd.errors import DeploydError
from deployd.gates.golden_file import exchanges, parse
from deployd.gates.record import Wish, record, requests_of, split, tried
from tests.gates.service import Answer, as_json, serving

LINES = b'{"x": 1}\n\n{"x": 2.5}\n'


def double(path: str, body: bytes) -> Answer:
    return 200, as_json({"y": json.loads(body)["x"] * 2, "id": "same"})


async def recorded(answer: Callable[[str, bytes], Answer], content: bytes = LINES, **wish: Any) -> dict[str, Any]:
    async with serving(answer) as address:
        asked = requests_of(content, "requests.jsonl", "POST", "/double")
        return await record(Wish(f"{address}/double", **wish), asked)


async def test_the_recorded_golden_file_passes_against_its_service() -> None:
    document = await recorded(double)
    assert (document["url"], document["method"], document["tolerance"]) == ("/double", "POST", 1e-6)
    assert [case["response"]["y"] for case in document["cases"]] == [2, 5.0]
    async with serving(double) as address:
        result = await tried(json.dumps(document).encode(), "golden.json", address)
    assert result.detail.startswith("2 of 2 answers equal")


async def test_numbers_are_recorded_as_they_came() -> None:
    document = await recorded(lambda path, body: (200, b'{"y": 0.10000000149011612}'))
    assert "0.10000000149011612" in json.dumps(document)


async def test_a_service_that_answers_differently_the_second_time_is_refused_without_a_rule() -> None:
    count = 0

    def answer(path: str, body: bytes) -> Answer:
        nonlocal count
        count += 1
        return 200, as_json({"y": 1, "id": count})

    with pytest.raises(
        DeploydError, match=r"request \d of 2 is answered differently the second time: \$\.id"
    ) as refused:
        await recorded(answer)
    assert "--ignore" in refused.value.hint
    document = await recorded(answer, ignore=("$.id",))
    assert document["rules"] == {"$.id": {"ignore": True}}
    parse(json.dumps(document).encode(), "golden.json")


async def test_a_refused_request_is_told_with_the_answer() -> None:
    with pytest.raises(DeploydError, match="request 1 of 2: /double answers 422: "):
        await recorded(lambda path, body: (422, as_json({"error": "x is missing"})))


async def test_a_path_that_no_answer_has_is_refused() -> None:
    with pytest.raises(DeploydError, match=r"no answer has \$\.z"):
        await recorded(double, ignore=("$.z",))


async def test_a_golden_file_can_be_recorded_anew() -> None:
    old = as_json({"url": "/old", "cases": [{"name": "one", "request": {"x": 4}, "response": {"y": 0}}]})
    document = await recorded(double, old)
    assert document["cases"] == [{"name": "one", "request": {"x": 4}, "response": {"y": 8, "id": "same"}}]


async def test_tensors_are_recorded_as_the_request_that_was_sent() -> None:
    old = as_json({"model": "m", "cases": [{"inputs": {"x": [1.0]}, "outputs": {"y": [0.0]}}]})
    answer = {"outputs": [{"name": "y", "shape": [1], "datatype": "FP64", "data": [2.0]}]}
    document = await recorded(lambda path, body: (200, as_json(answer)), old)
    (case,) = exchanges(parse(json.dumps(document).encode(), "golden.json"), "/predict")
    assert (case.url, case.body["inputs"][0]["name"]) == ("/v2/models/m/infer", "x")
    assert case.expected == answer


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://iris:8000", ("http://iris:8000", "")),
        ("http://iris:8000/", ("http://iris:8000", "")),
        ("https://iris/a/b?c=d", ("https://iris", "/a/b?c=d")),
    ],
)
def test_a_url_is_split_into_address_and_route(url: str, parts: tuple[str, str]) -> None:
    assert split(url) == parts


@pytest.mark.parametrize("url", ["iris:8000/predict", "/predict", "ftp://iris", "http://"])
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(DeploydError, match="is not a URL"):
        split(url)


@pytest.mark.parametrize("content", [b"", b"{", b"hello", b'{"a": 1}\n{'])
def test_requests_that_are_no_json_are_refused(content: bytes) -> None:
    with pytest.raises(DeploydError) as refused:
        requests_of(content, "requests.jsonl", "POST", "/double")
    assert refused.value.hint == "expected a request body in JSON on each line, or a golden file"
