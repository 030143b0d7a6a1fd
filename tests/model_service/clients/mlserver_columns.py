"""MLServer's codecs: a DataFrame encoded for its own servers, and our response decoded.

Arguments: host:port, file with rows by name and predictions.
"""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pandas as pd
from mlserver.codecs import Base64Codec, DatetimeCodec, NumpyCodec, PandasCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

address, expected = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
url = f"http://{address}/v2/models/customers/infer"
# The codec takes text as objects, without missing ones among texts.
frame = pd.DataFrame(expected["rows"]).astype(dict.fromkeys(("city", "plan", "comment", "since"), object))


def infer(request: InferenceRequest) -> InferenceResponse:
    body = request.model_dump_json(exclude_none=True).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})) as answer:
        return InferenceResponse.model_validate_json(answer.read())


def check(response: InferenceResponse) -> None:
    outputs = {output.name: output for output in response.outputs}
    assert StringCodec.decode_output(outputs["label"]) == expected["labels"]
    assert NumpyCodec.decode_output(outputs["predict_proba"]).tolist() == expected["probabilities"]


for use_bytes in (True, False):
    request = PandasCodec.encode_request(frame, use_bytes=use_bytes)
    assert request.parameters.content_type == "pd"
    check(infer(request))
for number, encoded in (
    (4, Base64Codec.encode_input("city", [city.encode() for city in frame["city"]], use_bytes=False)),
    (7, DatetimeCodec.encode_input("since", frame["since"].tolist(), use_bytes=False)),
):
    request = PandasCodec.encode_request(frame, use_bytes=False)
    assert request.inputs[number].name == encoded.name
    request.inputs[number] = encoded
    check(infer(request))

# A column of objects that are not all text is sent as JSON in texts: the content type pd_json.
mixed = PandasCodec.encode_request(frame.assign(member=frame["member"].astype(object)), use_bytes=False)
assert mixed.inputs[3].parameters.content_type == "pd_json"
check(infer(mixed))
mixed.inputs[3].data.root[0] = "tru"
try:
    infer(mixed)
except urllib.error.HTTPError as refused:
    assert refused.code == 400
    assert "inputs[3]: text 0 is not what its content_type says" in refused.read().decode()
else:
    raise AssertionError("a faulty request was answered")
print("mlserver agrees")
