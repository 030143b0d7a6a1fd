"""The Open Inference Protocol, JSON and binary, against what the specification says."""

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
from model_service.rows import RowReader
from model_service.service import Service
from model_service.settings import Settings
from model_service.v2 import Protocol
from tests.model_service.conftest import served

INFER = "/v2/models/iris/infer"
ROWS = [[5.8, 4.0, 1.2, 0.2], [6.0, 3.0, 5.5, 2.0]]
DEEP: list[Any] = []  # stands for a list nested a thousand deep


def tensor(**changed: Any) -> dict[str, Any]:
    return {"name": "features", "shape": [2, 4], "datatype": "FP64", "data": ROWS} | changed


def written(message: Any) -> bytes:
    """As JSON, however deep: the standard library's writer gives up before our parser does."""
    if isinstance(message, dict):
        return b"{%b}" % b",".join(json.dumps(key).encode() + b":" + written(one) for key, one in message.items())
    if message is DEEP:
        return b"[" * 1000 + b"]" * 1000
    if isinstance(message, list):
        return b"[%b]" % b",".join(map(written, message))
    return json.dumps(message).encode()


async def inferred(client: httpx.AsyncClient, **message: Any) -> dict[str, Any]:
    answer = await client.post(INFER, json=message)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def test_all_outputs_come_back_and_the_id_with_them(client: httpx.AsyncClient) -> None:
    told = await inferred(client, id="7", inputs=[tensor()])
    assert (told["id"], told["model_name"]) == ("7", "iris")
    assert told["outputs"] == [
        {"name": "predict", "datatype": "INT64", "shape": [2], "data": [0, 2]},
        {"name": "predict_proba", "datatype": "FP64", "shape": [2, 3], "data": [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]},
        {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["setosa", "virginica"]},
    ]


async def test_data_may_be_flat_or_nested_and_a_single_row_needs_no_outer_dimension(client: httpx.AsyncClient) -> None:
    nested = await inferred(client, inputs=[tensor()])
    assert await inferred(client, inputs=[tensor(data=ROWS[0] + ROWS[1])]) == nested
    alone = await inferred(client, inputs=[tensor(shape=[4], data=ROWS[0])], outputs=[{"name": "predict"}])
    assert alone["outputs"] == [{"name": "predict", "datatype": "INT64", "shape": [1], "data": [0]}]


async def test_one_tensor_a_feature_is_taken_too_in_any_order(client: httpx.AsyncClient, service: Service) -> None:
    columns = [
        tensor(name=name, shape=[2, 1] if k % 2 else [2], data=[row[k] for row in ROWS])
        for k, name in enumerate(service.rows.names)
    ]
    told = await inferred(client, inputs=columns[::-1])
    assert told["outputs"][0]["data"] == [0, 2]


async def test_one_tensor_a_feature_holds_no_more_rows_than_one_of_all(
    client: httpx.AsyncClient, service: Service
) -> None:
    def columns(rows: int) -> dict[str, Any]:
        return {"inputs": [tensor(name=name, shape=[rows], data=[1.0] * rows) for name in service.rows.names]}

    assert (await client.post(INFER, json=columns(1000))).status_code == 200
    answer = await client.post(INFER, json=columns(1001))
    assert answer.status_code == 400
    assert answer.json()["error"] == "inputs: 1001 rows, at most 1000 are taken at once"


@pytest.mark.parametrize(("datatype", "code"), [("FP64", "d"), ("FP32", "f"), ("FP16", "e")])
async def test_binary_tensors_go_both_ways(client: httpx.AsyncClient, datatype: str, code: str) -> None:
    raw = struct.pack(f"<8{code}", *ROWS[0], *ROWS[1])
    sent = {"name": "x", "shape": [2, 4], "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [sent], "parameters": {"binary_data_output": True}}).encode()
    answer = await client.post(INFER, content=head + raw, headers={"Inference-Header-Content-Length": str(len(head))})
    assert answer.status_code == 200, answer.text
    size = int(answer.headers["inference-header-content-length"])
    outputs, tail = json.loads(answer.content[:size])["outputs"], answer.content[size:]
    assert [one["parameters"]["binary_data_size"] for one in outputs] == [16, 48, 4 + 6 + 4 + 9]
    assert struct.unpack("<2q6d", tail[:64]) == (0, 2, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    assert tail[64:] == b"\x06\0\0\0setosa\x09\0\0\0virginica"


async def test_only_the_outputs_that_are_asked_for_come_back_each_as_it_was_asked(client: httpx.AsyncClient) -> None:
    wanted = [{"name": "label"}, {"name": "predict", "parameters": {"binary_data": True}}]
    answer = await client.post(INFER, json={"inputs": [tensor()], "outputs": wanted})
    head = json.loads(answer.content[: int(answer.headers["inference-header-content-length"])])
    assert [one["name"] for one in head["outputs"]] == ["label", "predict"]
    assert head["outputs"][0]["data"] == ["setosa", "virginica"]


async def test_integers_are_features_too(client: httpx.AsyncClient) -> None:
    told = await inferred(client, inputs=[tensor(shape=[1, 4], datatype="INT8", data=[6, 3, 5, 2])])
    assert told["outputs"][2]["data"] == ["virginica"]


BAD: dict[str, tuple[Any, str]] = {
    "no inputs": ({}, "inputs: expected a list"),
    "empty inputs": ({"inputs": []}, "inputs: expected a list"),
    "inputs that are text": ({"inputs": "x"}, "inputs"),
    "an unknown datatype": ({"inputs": [tensor(datatype="FP99")]}, "inputs[0].datatype: expected one of"),
    "a datatype that is an object": ({"inputs": [tensor(datatype={})]}, "inputs[0].datatype: expected one of"),
    "booleans": ({"inputs": [tensor(datatype="BOOL")]}, "datatype"),
    "text features": ({"inputs": [tensor(datatype="BYTES")]}, "datatype"),
    "no name": ({"inputs": [tensor(name=None)]}, "inputs[0].name"),
    "three features": ({"inputs": [tensor(shape=[2, 3], data=[1] * 6)]}, "expected [rows, 4]"),
    "a shape that disagrees": ({"inputs": [tensor(shape=[3, 4])]}, "as the shape says"),
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
    "data that is missing beside a size": (
        {"inputs": [tensor(parameters={"binary_data_size": 64})]},
        "one of them is wanted",
    ),
}


@pytest.mark.parametrize(("message", "said"), BAD.values(), ids=BAD.keys())
async def test_every_fault_is_a_400_that_names_it(client: httpx.AsyncClient, message: Any, said: str) -> None:
    answer = await client.post(INFER, json=message)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


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
async def test_what_is_nested_a_thousand_deep_is_a_400_wherever_it_stands(
    client: httpx.AsyncClient, message: Any
) -> None:
    answer = await client.post(INFER, content=written(message))
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "99999", "3", "9" * 5000])
async def test_a_wrong_header_length_is_a_400(client: httpx.AsyncClient, length: str) -> None:
    body = json.dumps({"inputs": [tensor()]})
    answer = await client.post(INFER, content=body, headers={"Inference-Header-Content-Length": length})
    assert answer.status_code == 400
    assert answer.json()["error"]


async def test_nan_in_a_binary_tensor_is_refused(client: httpx.AsyncClient) -> None:
    raw = struct.pack("<4d", 1.0, float("nan"), 1.0, 1.0)
    sent = {"name": "x", "shape": [1, 4], "datatype": "FP64", "parameters": {"binary_data_size": 32}}
    head = json.dumps({"inputs": [sent]}).encode()
    answer = await client.post(INFER, content=head + raw, headers={"Inference-Header-Content-Length": str(len(head))})
    assert answer.status_code == 400
    assert "sepal_width" in answer.json()["error"]


async def test_metadata_is_filled_from_the_manifest(client: httpx.AsyncClient, service: Service) -> None:
    version = service.manifest.version
    told = (await client.get("/v2/models/iris")).json()
    assert (told["name"], told["versions"]) == ("iris", [version])
    assert told["inputs"] == [{"name": "features", "datatype": "FP64", "shape": [-1, 4]}]
    assert [one["name"] for one in told["outputs"]] == ["predict", "predict_proba", "label"]
    assert told["properties"]["labels"] == "setosa,versicolor,virginica"
    assert (await client.get(f"/v2/models/iris/versions/{version}")).json() == told
    for path in ("/v2", "/v2/"):
        assert (await client.get(path)).json()["extensions"] == ["binary_tensor_data"]


async def test_all_that_tells_a_commit_tells_the_same(iris_dir: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(iris_dir, tmp_path / "model"))
    untold = json.loads((directory / "manifest.json").read_text()) | {"commit": None, "dirty": None}
    (directory / "manifest.json").write_text(json.dumps(untold))
    async with served(Settings(dir=directory, commit="c" * 40)) as (client, _):
        assert (await client.get("/v2/models/iris")).json()["properties"]["commit"] == "c" * 40
        assert (await client.get("/version")).json()["commit"] == "c" * 40
        assert (await client.get("/manifest")).json()["commit"] == "c" * 40


async def test_the_version_in_the_path_is_honoured(client: httpx.AsyncClient, service: Service) -> None:
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
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


def damaged(data: st.DataObject) -> Any:
    """A right message with one or two of its parts replaced by something else."""
    message: Any = {"id": "7", "parameters": {}, "inputs": [tensor(parameters={})], "outputs": [{"name": "label"}]}
    message = json.loads(json.dumps(message))
    for _ in range(data.draw(st.integers(1, 2))):
        where = message
        while isinstance(where, (dict, list)) and where:
            key = data.draw(st.sampled_from(sorted(where) if isinstance(where, dict) else range(len(where))))
            if not isinstance(where[key], (dict, list)) or data.draw(st.booleans()):
                where[key] = data.draw(junk)
                break
            where = where[key]
    return message


@given(data=st.data(), tail=st.binary(max_size=20), header=st.none() | st.integers(-5, 300))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_no_request_whatsoever_is_the_services_fault(
    client: httpx.AsyncClient, data: st.DataObject, tail: bytes, header: int | None
) -> None:
    message = damaged(data) if data.draw(st.booleans()) else data.draw(junk)
    headers = {} if header is None else {"Inference-Header-Content-Length": str(header)}
    answer = await client.post(
        INFER, content=json.dumps(message).encode() + tail * (header is not None), headers=headers
    )
    assert answer.status_code in (200, 400)


def test_a_regressor_answers_one_number(regressor: Manifest) -> None:
    told = Protocol(regressor, RowReader(regressor, max_rows=10)).metadata("c" * 40)
    assert told["outputs"] == [{"name": "predict", "datatype": "FP64", "shape": [-1]}]
