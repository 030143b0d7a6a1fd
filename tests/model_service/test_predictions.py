"""The prediction routes."""

import gzip
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_service import columns, parsing
from model_service.service import Service
from model_service.settings import Settings
from tests.model_service.conftest import served

ROW = [5.8, 4.0, 1.2, 0.2]


async def test_predict_gives_the_label_class_and_probabilities_of_every_row(client: httpx.AsyncClient) -> None:
    named = {"sepal_length": 6.0, "sepal_width": 3.0, "petal_length": 5.5, "petal_width": 2.0}
    answer = await client.post("/predict", json={"instances": [ROW, named]})
    assert answer.status_code == 200
    setosa, virginica = answer.json()["predictions"]
    assert setosa == {
        "label": "setosa",
        "class": 0,
        "probabilities": {"setosa": 1.0, "versicolor": 0.0, "virginica": 0.0},
    }
    assert (virginica["label"], virginica["class"]) == ("virginica", 2)
    assert answer.json()["model"]["name"] == "iris"


async def test_api_answers_with_the_bare_class_index(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api", content=json.dumps({"feature": [ROW]}), headers={"content-type": "text/plain"})
    assert (answer.status_code, answer.text) == (200, "0")


BAD = {
    "three features": ('{"instances": [[1, 2, 3]]}', 422, "instances[0]: expected 4 numbers"),
    "five features": ('{"instances": [[1, 2, 3, 4, 5]]}', 422, "got 5"),
    "ragged rows": ('{"instances": [[1, 2, 3, 4], [1, 2]]}', 422, "instances[1]"),
    "text": (
        '{"instances": [[1, 2, "x", 4]]}',
        422,
        'instances[0][2] (petal_length): expected a number, got the text "x"',
    ),
    "a number as text": ('{"instances": [[1, 2, "3", 4]]}', 422, "got the text"),
    "a boolean": ('{"instances": [[1, 2, true, 4]]}', 422, "got true"),
    "null": ('{"instances": [[1, 2, null, 4]]}', 422, "got null"),
    "NaN": ('{"instances": [[1, 2, NaN, 4]]}', 400, "NaN is not a JSON number"),
    "Infinity": ('{"instances": [[1, 2, -Infinity, 4]]}', 400, "-Infinity"),
    "1e400": ('{"instances": [[1, 2, 1e400, 4]]}', 422, "got inf"),
    "1e39": ('{"instances": [[1, 2, 1e39, 4]]}', 422, "within ±3.4028234663852886e+38"),
    "a huge integer": ('{"instances": [[1, 2, 1' + "0" * 400 + ", 4]]}", 422, "more than 38 digits"),
    "a very long integer": ('{"instances": [[1, 2, 1' + "0" * 5000 + ", 4]]}", 400, "not JSON"),
    "no rows": ('{"instances": []}', 422, "at least one row"),
    "an empty object": ("{}", 422, '"instances" is missing'),
    "not an object": ("[1]", 422, "expected an object"),
    "a missing feature": ('{"instances": [{"sepal_length": 1}]}', 422, "'sepal_width' is missing"),
    "a misspelt feature": ('{"instances": [{"petal_lenght": 1}]}', 422, "did you mean 'petal_length'"),
    "not JSON": ("instances", 400, "not JSON"),
    "not UTF-8": (b'{"instances": [[1, 2, 3, "\xff"]]}', 400, "not UTF-8"),
    "UTF-16": ('{"instances": [[1, 2, 3, 4]]}'.encode("utf-16"), 400, "not UTF-8"),
    "too deep": ("[" * 50_000, 400, "nested too deeply"),
    "a lone surrogate": ('{"instances": [{"\\ud800": 1}]}', 422, "there is no feature"),
    "too many rows": (json.dumps({"instances": [ROW] * 1001}), 422, "at most 1000"),
    "too large": (b" " * 100_001, 413, "larger than 100000 bytes"),
    "an empty body": (b"", 400, "not JSON"),
}


@pytest.mark.parametrize(("body", "status", "error"), BAD.values(), ids=BAD.keys())
async def test_faulty_input_gets_a_4xx_that_names_the_fault(
    client: httpx.AsyncClient, body: str | bytes, status: int, error: str
) -> None:
    answer = await client.post("/predict", content=body)
    assert answer.status_code == status
    assert error in answer.json()["error"]


async def test_no_similar_name_is_searched_for_a_very_long_name(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[str] = []

    def search(name: str, _names: list[str], n: int) -> list[str]:
        searched.append(name)
        return []

    monkeypatch.setattr(columns, "get_close_matches", search)
    for length in (20, 90_000):
        answer = await client.post("/predict", json={"instances": [{"x" * length: 1}]})
        assert answer.status_code == 422
        assert len(answer.text) < 300
    assert searched == ["x" * 20]


def named_rows(count: int) -> list[dict[str, float]]:
    return [dict(zip(("sepal_length", "sepal_width", "petal_length", "petal_width"), ROW, strict=True))] * count


async def test_large_and_compressed_bodies_are_read_in_a_thread(
    iris_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(Settings(dir=iris_dir)) as (client, service):
        threads: list[int] = []
        read = service.rows.read

        def noted_read(document: Any, key: str) -> list[list[float]]:
            threads.append(threading.get_ident())
            return read(document, key)

        monkeypatch.setattr(service.rows, "read", noted_read)
        small, large = (json.dumps({"instances": named_rows(count)}).encode() for count in (1, 5000))
        gzipped = {"Content-Encoding": "gzip"}
        for body, headers in ((small, {}), (large, {}), (gzip.compress(small), gzipped)):
            assert (await client.post("/predict", content=body, headers=headers)).status_code == 200
    assert [thread == threading.get_ident() for thread in threads] == [True, False, False]


async def test_a_large_body_that_is_not_json_is_parsed_only_once(
    iris_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsing, "_parse_slowly", lambda _body: pytest.fail("parsed again"))
    async with served(Settings(dir=iris_dir)) as (client, _):
        answer = await client.post("/predict", content=b'{"instances": [[NaN' + b" " * 300_000)
    assert (answer.status_code, answer.json()["error"][:20]) == (400, "the body is not JSON")


async def test_the_request_id_comes_back(client: httpx.AsyncClient) -> None:
    answer = await client.post("/predict", json={"instances": [ROW]}, headers={"X-Request-ID": "abc-1"})
    assert answer.headers["x-request-id"] == "abc-1"


async def test_a_get_on_a_prediction_route_gets_a_405(client: httpx.AsyncClient) -> None:
    answer = await client.get("/predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_while_draining_the_service_is_not_ready_and_answers_close_their_connection(
    client: httpx.AsyncClient, service: Service
) -> None:
    assert (await client.get("/v2/health/ready")).status_code == 200
    service.draining = True
    assert (await client.get("/v2/health/ready")).status_code == 503
    assert (await client.get("/v2/health/live")).status_code == 200
    answer = await client.post("/predict", json={"instances": [ROW]})
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
