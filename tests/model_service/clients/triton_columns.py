"""tritonclient[http] with a DataFrame: a tensor for each column, as JSON and as bytes.

Arguments: host:port, file with rows by name and predictions.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

address, expected = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
rows = expected["rows"]
client = triton.InferenceServerClient(address)
KINDS = {"INT64": np.int64, "FP64": np.float64, "BOOL": np.bool_, "BYTES": np.object_}


def infer(binary, replaced=None, **more):
    tensors = []
    for described in client.get_model_metadata("customers")["inputs"]:
        assert described["shape"] == [-1, 1]
        name, datatype = described["name"], described["datatype"]
        values = (replaced or {}).get(name) or [row[name] for row in rows]
        if datatype != "BYTES" and None in values:  # a missing number is NaN, which only floats have
            datatype, values = "FP64", [np.nan if value is None else value for value in values]
        tensor = triton.InferInput(name, [len(rows), 1], datatype)
        tensor.set_data_from_numpy(np.array(values, dtype=KINDS[datatype]).reshape(-1, 1), binary_data=binary)
        tensors.append(tensor)
    return client.infer("customers", tensors, **more)


for binary in (True, False):
    for more in ({}, {"parameters": {"content_type": "pd"}}):
        answer = infer(binary, **more)
        assert [label.decode() for label in answer.as_numpy("label").ravel()] == expected["labels"]
        assert answer.as_numpy("predict_proba").tolist() == expected["probabilities"]
    for name, value, words in (
        ("age", None, "(age): expected a whole number"),
        ("since", "yesterday", "(since): expected a date and time"),
    ):
        try:
            infer(binary, {name: [value] * len(rows)})
        except InferenceServerException as refused:
            assert refused.status() == "400"
            assert words in refused.message(), refused
        else:
            raise AssertionError("a faulty request was answered")
assert client.get_model_config("customers")["input"][1] == {"name": "income", "data_type": "TYPE_FP64", "dims": [1]}
assert client.get_model_repository_index()[0]["state"] == "READY"
(counted,) = client.get_inference_statistics("customers")["model_stats"]
assert (counted["inference_count"], counted["inference_stats"]["fail"]["count"]) == (4 * len(rows), 4)
print("triton agrees")
