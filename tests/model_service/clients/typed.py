"""pydantic-open-inference: typed requests. Arguments: host:port, file with rows and predictions."""

import json
import sys
from pathlib import Path

from pydantic_open_inference import BadStatusCodeFromServerError, InputsBaseModel, OutputsBaseModel, RemoteModel

expected = json.loads(Path(sys.argv[2]).read_text())


class Rows(InputsBaseModel):
    features: list[list[float]]


class Outputs(OutputsBaseModel):
    predict: list[int]
    label: list[str]
    predict_proba: list[list[float]]


def model(name: str) -> RemoteModel[Rows, Outputs]:
    return RemoteModel(model_name=name, inputs_model=Rows, outputs_model=Outputs, server_url=f"http://{sys.argv[1]}")


iris = model("iris")
assert iris.is_ready()
answer = iris.infer(Rows(features=expected["rows"]))
assert answer.predict == expected["classes"]
assert answer.label == expected["labels"]
assert answer.predict_proba == expected["probabilities"]
for name, rows in (("iris", [[1.0, 2.0, 3.0]]), ("rose", expected["rows"])):
    try:
        model(name).infer(Rows(features=rows))
    except BadStatusCodeFromServerError as refused:
        assert "40" in str(refused)
    else:
        raise AssertionError("a faulty request was answered")
print("pydantic-open-inference agrees")
