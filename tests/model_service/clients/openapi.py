"""open-inference-openapi, the client generated from the specification. Arguments: host:port, file with rows and predictions."""

import json
import sys
from pathlib import Path

from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError
from open_inference.openapi.errors import BadRequestError, NotFoundError
from open_inference.openapi.types import InferenceRequest

expected = json.loads(Path(sys.argv[2]).read_text())
client = OpenInferenceClient(base_url=f"http://{sys.argv[1]}")
client.check_server_liveness()
client.check_server_readiness()
client.check_model_readiness("iris")
client.check_model_version_readiness("iris", expected["version"])
assert client.read_server_metadata().extensions == ["binary_tensor_data"]
metadata = client.read_model_metadata("iris")
assert (metadata.name, metadata.inputs[0].shape) == ("iris", [-1, 4])
assert client.read_model_version_metadata("iris", expected["version"]) == metadata


def request(rows: list[list[float]]) -> InferenceRequest:
    flat = [value for row in rows for value in row]
    shape = [len(rows), len(rows[0])]
    return InferenceRequest(id="7", inputs=[{"name": "features", "shape": shape, "datatype": "FP64", "data": flat}])


for answer in (
    client.model_infer("iris", request=request(expected["rows"])),
    client.model_version_infer("iris", expected["version"], request=request(expected["rows"])),
):
    outputs = {output.name: output for output in answer.outputs}
    data = {name: json.loads(output.json())["data"] for name, output in outputs.items()}
    assert answer.id == "7"
    assert data["predict"] == expected["classes"]
    assert data["predict_proba"] == [probability for row in expected["probabilities"] for probability in row]
    assert data["label"] == expected["labels"]

for send_fault, error in (
    (lambda: client.model_infer("iris", request=request([[1.0, 2.0, 3.0]])), BadRequestError),
    (lambda: client.model_infer("rose", request=request(expected["rows"])), ApiError),
    (lambda: client.check_model_readiness("rose"), NotFoundError),
):
    try:
        send_fault()
    except error as refused:
        assert refused.body["error"]
    else:
        raise AssertionError("a faulty request was answered")
print("open-inference-openapi agrees")
