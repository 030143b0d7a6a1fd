"""open-inference-openapi, the client generated from the specification. Arguments: host:port, file with rows and answers."""

import json
import sys
from pathlib import Path

from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError
from open_inference.openapi.errors import BadRequestError, NotFoundError
from open_inference.openapi.types import InferenceRequest

known = json.loads(Path(sys.argv[2]).read_text())
client = OpenInferenceClient(base_url=f"http://{sys.argv[1]}")
client.check_server_liveness()
client.check_server_readiness()
client.check_model_readiness("iris")
client.check_model_version_readiness("iris", known["version"])
assert client.read_server_metadata().extensions == ["binary_tensor_data"]
metadata = client.read_model_metadata("iris")
assert (metadata.name, metadata.inputs[0].shape) == ("iris", [-1, 4])
assert client.read_model_version_metadata("iris", known["version"]) == metadata


def request(rows: list[list[float]]) -> InferenceRequest:
    flat = [value for row in rows for value in row]
    shape = [len(rows), len(rows[0])]
    return InferenceRequest(id="7", inputs=[{"name": "features", "shape": shape, "datatype": "FP64", "data": flat}])


for said in (
    client.model_infer("iris", request=request(known["rows"])),
    client.model_version_infer("iris", known["version"], request=request(known["rows"])),
):
    outputs = {one.name: one for one in said.outputs}
    plain = {name: json.loads(one.json())["data"] for name, one in outputs.items()}
    assert said.id == "7"
    assert plain["predict"] == known["classes"]
    assert plain["predict_proba"] == [share for row in known["probabilities"] for share in row]
    assert plain["label"] == known["labels"]

for wrong, kind in (
    (lambda: client.model_infer("iris", request=request([[1.0, 2.0, 3.0]])), BadRequestError),
    (lambda: client.model_infer("rose", request=request(known["rows"])), ApiError),
    (lambda: client.check_model_readiness("rose"), NotFoundError),
):
    try:
        wrong()
    except kind as refused:
        assert refused.body["error"]
    else:
        raise AssertionError("a wrong request was answered")
print("open-inference-openapi agrees")
