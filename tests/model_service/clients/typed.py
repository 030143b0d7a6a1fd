"""pydantic-open-inference: typed requests. Arguments: host:port, file with rows and answers."""

import json
import sys
from pathlib import Path

from pydantic_open_inference import BadStatusCodeFromServerError, InputsBaseModel, OutputsBaseModel, RemoteModel

known = json.loads(Path(sys.argv[2]).read_text())


class Rows(InputsBaseModel):
    features: list[list[float]]


class Said(OutputsBaseModel):
    predict: list[int]
    label: list[str]
    predict_proba: list[list[float]]


def model(name: str) -> RemoteModel[Rows, Said]:
    return RemoteModel(model_name=name, inputs_model=Rows, outputs_model=Said, server_url=f"http://{sys.argv[1]}")


iris = model("iris")
assert iris.is_ready()
said = iris.infer(Rows(features=known["rows"]))
assert said.predict == known["classes"]
assert said.label == known["labels"]
assert said.predict_proba == known["probabilities"]
for name, rows in (("iris", [[1.0, 2.0, 3.0]]), ("rose", known["rows"])):
    try:
        model(name).infer(Rows(features=rows))
    except BadStatusCodeFromServerError as refused:
        assert "40" in str(refused)
    else:
        raise AssertionError("a wrong request was answered")
print("pydantic-open-inference agrees")
