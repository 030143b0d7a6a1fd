"""The Open Inference Protocol as its specification says, with JSON and with binary tensors."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_service.manifest import Manifest
from model_service.open_inference import OpenInference
from model_service.rows import RowReader
from model_service.service import Service
from model_service.settings import Settings
from tests.model_service.conftest import served

INFER = "/v2/models/iris/infer"
ROWS = [[5.8, 4.0, 1.2, 0.2], [6.0, 3.0, 5.5, 2.0]]
DEEP: list[Any] = []  # stands for a list that is nested a thousand levels deep


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "features", "shape": [2, 4], "datatype": "FP64", "data": ROWS} | changes


def write_json(message: Any) -> bytes:
    """The message as JSON. The standard library's writer cannot write lists as deep as DEEP."""
    if isinstance(message, dict):
        return b"{%b}" % b",".join(
            json.dumps(key).encode() + b":" + write_json(value) for key, value in message.items()
        )
    if message is DEEP:
        return b"[" * 1000 + b"]" * 1000
    if isinstance(message, list):
        return b"[%b]" % b",".join(map(write_json, message))
    return json.dumps(message).encode()


async def infer(client: httpx.AsyncClient, **message: Any) -> dict[str, Any]:
    answer = await client.post(INFER, json=message)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_all_outputs_and_the_id_come_back(client: httpx.AsyncClient) -> None:
    answer = await infer(client, id="7", inputs=[tensor()])
    assert (answer["id"], answer["model_name"]) == ("7", "iris")
    assert answer["outputs"] == [
        {"name": "predict", "datatype": "INT64", "shape": [2], "data": [0, 2]},
        {"name": "predict_proba", "datatype": "FP64", "shape": [2, 3], "data": [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]},
        {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["setosa", "virginica"]},
    ]


async def test_data_may_be_flat_or_nested_and_a_single_row_may_have_one_dimension(client: httpx.AsyncClient) -> None:
    nested = await infer(client, inputs=[tensor()])
    assert await infer(client, inputs=[tensor(data=ROWS[0] + ROWS[1])]) == nested
    single = await infer(client, inputs=[tensor(shape=[4], data=ROWS[0])], outputs=[{"name": "predict"}])
    assert single["outputs"] == [{"name": "predict", "datatype": "INT64", "shape": [1], "data": [0]}]


async def test_one_tensor_for_each_feature_is_taken_in_any_order(client: httpx.AsyncClient, service: Service) -> None:
    columns = [
        tensor(name=name, shape=[2, 1] if k % 2 else [2], data=[row[k] for row in ROWS])
        for k, name in enumerate(service.rows.names)
    ]
    answer = await infer(client, inputs=columns[::-1])
    assert answer["outputs"][0]["data"] == [0, 2]


async def test_tensors_of_single_features_have_the_same_limit_of_rows(
    client: httpx.AsyncClient, service: Service
) -> None:
    def columns(rows: int) -> dict[str, Any]:
        return {"inputs": [tensor(name=name, shape=[rows], data=[1.0] * rows) for name in service.rows.names]}

    assert (await client.post(INFER, json=columns(1000))).status_code == 200
    answer = await client.post(INFER, json=columns(1001))
    assert answer.status_code == 400
    assert answer.json()["error"] == "inputs: 1001 rows, at most 1000 are taken at once"


@pytest.mark.parametrize(("datatype", "code"), [("FP64", "d"), ("FP32", "f"), ("FP16", "e")])
async def test_tensors_may_be_binary_in_requests_and_answers(
    client: httpx.AsyncClient, datatype: str, code: str
) -> None:
    raw = struct.pack(f"<8{code}", *ROWS[0], *ROWS[1])
    input_tensor = {"name": "x", "shape": [2, 4], "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [input_tensor], "parameters": {"binary_data_output": True}}).encode()
    answer = await client.post(INFER, content=head + raw, headers={"Inference-Header-Content-Length": str(len(head))})
    assert answer.status_code == 200, answer.text
    size = int(answer.headers["inference-header-content-length"])
    outputs, tail = json.loads(answer.content[:size])["outputs"], answer.content[size:]
    assert [output["parameters"]["binary_data_size"] for output in outputs] == [16, 48, 4 + 6 + 4 + 9]
    assert struct.unpack("<2q6d", tail[:64]) == (0, 2, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    assert tail[64:] == b"\x06\0\0\0setosa\x09\0\0\0virginica"


async def test_only_the_requested_outputs_come_back_each_in_the_requested_form(client: httpx.AsyncClient) -> None:
    outputs = [{"name": "label"}, {"name": "predict", "parameters": {"binary_data": True}}]
    answer = await client.post(INFER, json={"inputs": [tensor()], "outputs": outputs})
    head = json.loads(answer.content[: int(answer.headers["inference-header-content-length"])])
    assert [output["name"] for output in head["outputs"]] == ["label", "predict"]
    assert head["outputs"][0]["data"] == ["setosa", "virginica"]


async def test_integers_are_taken_as_features(client: httpx.AsyncClient) -> None:
    answer = await infer(client, inputs=[tensor(shape=[1, 4], datatype="INT8", data=[6, 3, 5, 2])])
    assert answer["outputs"][2]["data"] == ["virginica"]


BAD: dict[str, tuple[Any, str]] = {
    "no inputs": ({}, "inputs: expected a list"),
    "empty inputs": ({"inputs": []}, "inputs: expected a list"),
    "inputs that are text": ({"inputs": "x"}, "inputs"),
    "an unknown datatype": ({"inputs": [tensor(datatype="FP99")]}, "inputs[0].datatype: expected one of"),
    "a datatype that is an object": ({"inputs": [tensor(datatype={})]}, "inputs[0].datatype: expected one of"),
    "booleans": ({"inputs": [tensor(datatype="BOOL")]}, "expected true or false in a BOOL tensor"),
    "text features": ({"inputs": [tensor(datatype="BYTES")]}, "expected text in a BYTES tensor"),
    "no name": ({"inputs": [tensor(name=None)]}, "inputs[0].name"),
    "three features": ({"inputs": [tensor(shape=[2, 3], data=[1] * 6)]}, "expected [rows, 4]"),
    "a shape that does not fit the data": ({"inputs": [tensor(shape=[3, 4])]}, "as the shape says"),
    "a ragged tensor": ({"inputs": [tensor(data=[[1, 2, 3], [1, 2, 3, 4, 5]])]}, "2 lists of 4 numbers"),
    "three dimensions": ({"inputs": [tensor(shape=[1, 2, 4])]}, "inputs[0].shape"),
    "no rows": ({"inputs": [tensor(shape=[0, 4], data=[])]}, "inputs[0].shape"),
    "a shape of booleans": ({"inputs": [tensor(shape=[True, 4])]}, "inputs[0].shape"),
    "too many rows": ({"inputs": [tensor(shape=[10**9, 4])]}, "at most 1000 rows"),
    "text in numbers": ({"inputs": [tensor(data=["1"] * 8)]}, 'expected a number, got the text "1"'),
    "null": ({"inputs": [tensor(data=[None] * 8)]}, "got null"),
    "too large for the model": ({"inputs": [tensor(data=[1e39] * 8)]}, "within"),
    "fractions as integers": ({"inputs": [tensor(datatype="INT32")]}, "whole numbers"),
    "too large for the datatype": ({"inputs": [tensor(datatype="UINT8", data=[256] * 8)]}, "UINT8 can hold"),
    "no data": ({"inputs": [tensor(data=None)]}, "inputs[0].data"),
    "an unknown output": ({"inputs": [tensor()], "outputs": [{"name": "x"}]}, "expected one of predict"),
    "an output twice": ({"inputs": [tensor()], "outputs": [{"name": "label"}] * 2}, "each once"),
    "an id that is a number": ({"id": 7, "inputs": [tensor()]}, "id: expected text"),
    "two wide tensors": ({"inputs": [tensor(), tensor(name="y")]}, "one for each of"),
    "parameters that are false": ({"inputs": [tensor(parameters=False)]}, "inputs[0].parameters: expected an object"),
    "a list": ([], "the request: expected an object"),
    "data and binary_data_size": (
        {"inputs": [tensor(parameters={"binary_data_size": 64})]},
        "expected one of them",
    ),
}


@pytest.mark.parametrize(("message", "error"), BAD.values(), ids=BAD.keys())
async def test_every_fault_gets_a_400_that_names_it(client: httpx.AsyncClient, message: Any, error: str) -> None:
    answer = await client.post(INFER, json=message)
    assert answer.status_code == 400
    assert error in answer.json()["error"]


@pytest.mark.parametrize(
    "message",
    [
        *({"inputs": [tensor(**{part: DEEP})]} for part in ("name", "shape", "datatype", "data", "parameters")),
        {"inputs": [tensor(parameters={"binary_data_size": DEEP})]},
        {"inputs": [DEEP]},
        {"inputs": [tensor()], "id": DEEP},
        {"inputs": [tensor()], "parameters": DEEP},
        {"inputs": [tensor()], "outputs": [DEEP]},
        {"inputs": [tensor()], "outputs": [{"name": DEEP}]},
    ],
)
async def test_a_list_that_is_a_thousand_levels_deep_gets_a_400_wherever_it_is(
    client: httpx.AsyncClient, message: Any
) -> None:
    answer = await client.post(INFER, content=write_json(message))
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "99999", "3", "9" * 5000])
async def test_a_wrong_length_in_the_header_gets_a_400(client: httpx.AsyncClient, length: str) -> None:
    body = json.dumps({"inputs": [tensor()]})
    answer = await client.post(INFER, content=body, headers={"Inference-Header-Content-Length": length})
    assert answer.status_code == 400
    assert answer.json()["error"]


async def test_nan_in_a_binary_tensor_gets_a_400(client: httpx.AsyncClient) -> None:
    raw = struct.pack("<4d", 1.0, float("nan"), 1.0, 1.0)
    input_tensor = {"name": "x", "shape": [1, 4], "datatype": "FP64", "parameters": {"binary_data_size": 32}}
    head = json.dumps({"inputs": [input_tensor]}).encode()
    answer = await client.post(INFER, content=head + raw, headers={"Inference-Header-Content-Length": str(len(head))})
    assert answer.status_code == 400
    assert "sepal_width" in answer.json()["error"]


async def test_the_metadata_come_from_the_manifest(client: httpx.AsyncClient, service: Service) -> None:
    version = service.manifest.version
    metadata = (await client.get("/v2/models/iris")).json()
    assert (metadata["name"], metadata["versions"]) == ("iris", [version])
    assert metadata["inputs"] == [{"name": "features", "datatype": "FP64", "shape": [-1, 4]}]
    assert [output["name"] for output in metadata["outputs"]] == ["predict", "predict_proba", "label"]
    assert metadata["properties"]["labels"] == "setosa,versicolor,virginica"
    assert (await client.get(f"/v2/models/iris/versions/{version}")).json() == metadata
    for path in ("/v2", "/v2/"):
        assert (await client.get(path)).json()["extensions"] == ["binary_tensor_data"]


async def test_every_route_that_shows_a_commit_shows_the_same(iris_dir: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(iris_dir, tmp_path / "model"))
    without_commit = json.loads((directory / "manifest.json").read_text()) | {"commit": None, "dirty": None}
    (directory / "manifest.json").write_text(json.dumps(without_commit))
    async with served(Settings(dir=directory, commit="c" * 40)) as (client, _):
        assert (await client.get("/v2/models/iris")).json()["properties"]["commit"] == "c" * 40
        assert (await client.get("/version")).json()["commit"] == "c" * 40
        assert (await client.get("/manifest")).json()["commit"] == "c" * 40


async def test_the_model_and_the_version_in_the_path_are_checked(client: httpx.AsyncClient, service: Service) -> None:
    good = f"/v2/models/iris/versions/{service.manifest.version}"
    assert (await client.post(f"{good}/infer", json={"inputs": [tensor()]})).status_code == 200
    assert (await client.get(f"{good}/ready")).json() == {"name": "iris", "ready": True}
    for path in ("/v2/models/rose", "/v2/models/iris/versions/1"):
        for answer in (await client.get(path), await client.get(f"{path}/ready"), await client.post(f"{path}/infer")):
            assert answer.status_code == 404
            assert "this service has" in answer.json()["error"]


words = st.sampled_from(
    ["inputs", "name", "shape", "datatype", "data", "parameters", "outputs", "id", "FP32", "features"]
)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


def damaged_message(data: st.DataObject) -> Any:
    """A valid message in which one or two parts are replaced."""
    message: Any = {"id": "7", "parameters": {}, "inputs": [tensor(parameters={})], "outputs": [{"name": "label"}]}
    message = json.loads(json.dumps(message))
    for _ in range(data.draw(st.integers(1, 2))):
        where = message
        while isinstance(where, (dict, list)) and where:
            key = data.draw(st.sampled_from(sorted(where) if isinstance(where, dict) else range(len(where))))
            if not isinstance(where[key], (dict, list)) or data.draw(st.booleans()):
                where[key] = data.draw(any_json)
                break
            where = where[key]
    return message


@given(data=st.data(), tail=st.binary(max_size=20), header=st.none() | st.integers(-5, 300))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@pytest.mark.slow
async def test_no_request_gets_a_500(
    client: httpx.AsyncClient, data: st.DataObject, tail: bytes, header: int | None
) -> None:
    message = damaged_message(data) if data.draw(st.booleans()) else data.draw(any_json)
    headers = {} if header is None else {"Inference-Header-Content-Length": str(header)}
    answer = await client.post(
        INFER, content=json.dumps(message).encode() + tail * (header is not None), headers=headers
    )
    assert answer.status_code in (200, 400)


def test_a_regressor_has_one_output(regressor: Manifest) -> None:
    metadata = OpenInference(regressor, RowReader(regressor, max_rows=10)).metadata("c" * 40)
    assert metadata["outputs"] == [{"name": "predict", "datatype": "FP64", "shape": [-1]}]
