"""The Open Inference Protocol for columns of several types: one tensor for each, as JSON and as bytes; and MLflow's forms."""

import json
import math
import struct
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema_rs import Draft202012Validator
from sklearn.linear_model import LogisticRegression

from deployd.gates.golden_file import exchanges, parse, schema
from model_service import train
from model_service.fitting import fit
from model_service.quality import measure
from model_service.settings import Settings
from tests.model_service.conftest import served
from tests.model_service.kinds import TRUST, customers, mixed

pytestmark = pytest.mark.slow
INFER = "/v2/models/customers/infer"
NAMES = ["age", "income", "children", "member", "city", "plan", "comment", "since"]
ROWS: list[list[Any]] = [
    [30, 2500.5, 2, True, "Ulm", "plus", "good", "2021-05-06T00:00:00"],
    [41, None, None, False, None, "basic", "slow", "2022-01-02T03:04:05"],
]
TYPES = ["INT64", "FP64", "INT64", "BOOL", "BYTES", "BYTES", "BYTES", "BYTES"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("customers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = fit(customers(mixed(LogisticRegression(max_iter=500))), seed=0)
        train.write(fitted, out, form="auto", metrics=measure(fitted))
    return out


@pytest.fixture
async def client(directory: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with served(Settings(dir=directory, trust=TRUST)) as (client, _):
        yield client


def tensors(shape: list[int]) -> list[dict[str, Any]]:
    columns = zip(NAMES, TYPES, zip(*ROWS, strict=True), strict=True)
    return [{"name": name, "datatype": kind, "shape": shape, "data": list(data)} for name, kind, data in columns]


async def expected(client: httpx.AsyncClient) -> list[str]:
    answer = await client.post("/predict", json={"instances": ROWS})
    assert answer.status_code == 200, answer.text
    return [one["label"] for one in answer.json()["predictions"]]


async def test_a_tensor_for_each_column_as_a_client_of_mlserver_sends_a_data_frame(client: httpx.AsyncClient) -> None:
    for shape in ([2, 1], [2]):
        message = {"parameters": {"content_type": "pd"}, "inputs": tensors(shape)}
        answer = await client.post(INFER, json=message)
        outputs = {one["name"]: one["data"] for one in answer.json()["outputs"]}
        assert outputs["label"] == outputs["predict"] == await expected(client)
    described = (await client.get("/v2/models/customers")).json()["inputs"]
    assert [(one["name"], one["datatype"]) for one in described] == list(zip(NAMES, TYPES, strict=True))


async def test_the_same_tensors_as_bytes(client: httpx.AsyncClient) -> None:
    formats = {"INT64": "<q", "FP64": "<d", "BOOL": "<?"}
    row, heads, tail = ROWS[0], [], b""
    for name, kind, value in zip(NAMES, TYPES, row, strict=True):
        text = str(value).encode()
        packed = struct.pack("<I", len(text)) + text if kind == "BYTES" else struct.pack(formats[kind], value)
        parameters = {"binary_data_size": len(packed)}
        heads.append({"name": name, "datatype": kind, "shape": [1, 1], "parameters": parameters})
        tail += packed
    head = json.dumps({"inputs": heads}).encode()
    header = {"Inference-Header-Content-Length": str(len(head))}
    answer = await client.post(INFER, content=head + tail, headers=header)
    assert answer.json()["outputs"][0]["data"] == (await expected(client))[:1]
    cut = await client.post(INFER, content=head + tail[:-2], headers=header)
    assert (cut.status_code, "expected the bytes of 1 texts" in cut.json()["error"]) == (400, True)


async def test_texts_are_read_as_their_content_type_says(client: httpx.AsyncClient) -> None:
    """As MLServer's codecs write them: a column of objects that are not all text is JSON in texts."""
    for k, content_type, data in (
        (3, "pd_json", ["true", "false"]),
        (4, "base64", ["VWxt", None]),
        (4, "pd_json", ['"Ulm"', "null"]),
        (4, "str", ["Ulm", None]),
        (7, "datetime", [ROWS[0][7], ROWS[1][7]]),
    ):
        given = tensors([2, 1])
        given[k] |= {"datatype": "BYTES", "parameters": {"content_type": content_type}, "data": data}
        answer = await client.post(INFER, json={"inputs": given})
        assert answer.json().get("outputs", [{}])[0].get("data") == await expected(client), answer.text
    for content_type, text in (("base64", "Ulm"), ("pd_json", "Ulm"), ("base64", "/w=="), ("pd_json", "[" * 50_000)):
        given = tensors([2])
        given[4] |= {"parameters": {"content_type": content_type}, "data": [None, text]}
        answer = await client.post(INFER, json={"inputs": given})
        assert (answer.status_code, answer.json()["error"]) == (
            400,
            "inputs[4]: text 1 is not what its content_type says",
        )


async def test_nan_in_json_is_a_missing_value_as_tritons_client_sends_it(client: httpx.AsyncClient) -> None:
    given = tensors([2])
    given[1]["data"], given[2] = [2500.5, math.nan], given[2] | {"datatype": "FP64", "data": [2.0, math.nan]}
    answer = await client.post(INFER, content=json.dumps({"inputs": given}))
    assert answer.json()["outputs"][0]["data"] == await expected(client)
    for number, words in ((math.nan, "(age): expected a whole number"), (math.inf, "(age): expected a whole number")):
        given[0] |= {"datatype": "FP64", "data": [30.0, number]}
        answer = await client.post(INFER, content=json.dumps({"inputs": given}))
        assert (answer.status_code, words in answer.json()["error"]) == (400, True), answer.text


async def test_a_wrong_value_is_a_400_that_names_the_column(client: httpx.AsyncClient) -> None:
    for k, data, words in (
        (3, ["yes", "no"], "expected true or false in a BOOL tensor"),
        (4, [1, 2], "expected text in a BYTES tensor"),
        (0, [None, 30], "(age): expected a whole number"),
        (7, ["today", None], "(since): expected a date"),
    ):
        given = tensors([2])
        given[k]["data"] = data
        answer = await client.post(INFER, json={"inputs": given})
        assert (answer.status_code, words in answer.json()["error"]) == (400, True), answer.text


async def test_the_forms_of_mlflows_clients_get_the_same_predictions(client: httpx.AsyncClient) -> None:
    named = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
    backwards = [[row[name] for name in reversed(NAMES)] for row in named]
    columns = {name: [row[name] for row in named] for name in NAMES}
    forms: list[dict[str, Any]] = [
        {"dataframe_split": {"columns": NAMES, "index": [7, 8], "data": ROWS}},
        {"dataframe_split": {"columns": NAMES[::-1], "data": backwards}},
        {"dataframe_records": named},
        {"instances": named},
        {"inputs": columns},
        {"inputs": named},
    ]
    for form in forms:
        answer = await client.post("/predict", json=form)
        assert [one["label"] for one in answer.json()["predictions"]] == await expected(client)
    one_row = await client.post("/predict", json={"inputs": named[0]})
    assert len(one_row.json()["predictions"]) == 1
    faults: list[tuple[dict[str, Any], str]] = [
        ({"dataframe_split": {"columns": NAMES, "data": [[1]]}}, "dataframe_split.data[0]: expected a list of 8"),
        ({"dataframe_split": {"columns": [*NAMES[:-1], "age"], "data": ROWS}}, "a name is there twice"),
        ({"dataframe_records": []}, "at least one row"),
        ({"inputs": {"age": [1, 2], "plan": ["a"]}}, "columns of one length"),
        ({"inputs": named, "dataframe_records": named}, "expected one of instances"),
    ]
    for form, words in faults:
        answer = await client.post("/predict", json=form)
        assert (answer.status_code, words in answer.json()["error"]) == (422, True), answer.text


def test_the_golden_file_of_typed_columns_is_one_that_the_deployer_reads(directory: Path) -> None:
    content = (directory / "golden.json").read_bytes()
    Draft202012Validator(schema()).validate(json.loads(content))
    assert len(exchanges(parse(content, "golden.json"), "/predict")) == 13
