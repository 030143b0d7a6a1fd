"""tritonclient[http]: JSON and binary tensors, valid and faulty requests.

Arguments: host:port, file with rows and predictions.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

address, expected = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
rows = np.asarray(expected["rows"])
client = triton.InferenceServerClient(address)
assert client.is_server_live()
assert client.is_server_ready()
assert client.is_model_ready("iris")
assert client.is_model_ready("iris", expected["version"])
assert not client.is_model_ready("rose")
assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
metadata = client.get_model_metadata("iris")
assert metadata["inputs"][0]["shape"] == [-1, 4]


def infer(binary_in, binary_out, datatype="FP64", outputs=("predict", "predict_proba", "label"), given=rows, **more):
    kinds = {"FP64": np.float64, "FP32": np.float32}
    tensor = triton.InferInput(metadata["inputs"][0]["name"], given.shape, datatype)
    tensor.set_data_from_numpy(given.astype(kinds[datatype]), binary_data=binary_in)
    requested = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in outputs] or None
    return client.infer("iris", [tensor], outputs=requested, **more)


for binary_in in (True, False):
    for binary_out in (True, False):
        for datatype in ("FP64", "FP32"):
            answer = infer(binary_in, binary_out, datatype, request_id="7")
            assert answer.get_response()["id"] == "7"
            assert answer.as_numpy("predict").tolist() == expected["classes"]
            assert np.array_equal(answer.as_numpy("predict_proba"), expected["probabilities"])
            labels = [
                label.decode() if isinstance(label, bytes) else label for label in answer.as_numpy("label").tolist()
            ]
            assert labels == expected["labels"]
assert infer(True, True, outputs=()).as_numpy("predict").tolist() == expected["classes"]
assert infer(True, True, model_version=expected["version"]).as_numpy("predict").tolist() == expected["classes"]
for algorithm in ("gzip", "deflate"):
    assert (
        infer(True, True, request_compression_algorithm=algorithm).as_numpy("predict").tolist() == expected["classes"]
    )

for send_fault in (
    lambda: infer(True, True, given=rows[:, :3]),
    lambda: infer(True, True, outputs=("nope",)),
    lambda: infer(False, False, given=np.full((1, 4), 1e39)),
    lambda: infer(True, True, given=np.full((1, 4), np.nan)),
    lambda: infer(True, True, model_version="9"),
):
    try:
        send_fault()
    except InferenceServerException as refused:
        assert refused.status() in ("400", "404"), refused
        assert "exception occurred in the client" not in refused.message()
    else:
        raise AssertionError("a faulty request was answered")
print("triton agrees")
