"""KServe's InferenceRESTClient: JSON and binary tensors, valid and faulty requests.

Arguments: host:port, file with rows and predictions.
"""

import asyncio
import json
import sys
from pathlib import Path

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferOutput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput

base, expected = f"http://{sys.argv[1]}", json.loads(Path(sys.argv[2]).read_text())
rows = np.asarray(expected["rows"])


def request(binary_in: bool, binary_out: bool, given=rows) -> InferRequest:
    tensor = InferInput("features", list(given.shape), "FP64")
    tensor.set_data_from_numpy(given, binary_data=binary_in)
    outputs = [RequestedOutput(name, parameters={"binary_data": binary_out}) for name in ("predict", "predict_proba")]
    return InferRequest("iris", [tensor], request_outputs=outputs)


async def main() -> None:
    async with InferenceRESTClient(RESTConfig(protocol="v2", retries=1)) as client:
        assert await client.is_server_live(base)
        assert await client.is_server_ready(base)
        assert await client.is_model_ready(base, "iris")
        assert not await client.is_model_ready(base, "rose")
        for binary_in in (True, False):
            for binary_out in (True, False):
                answer = await client.infer(base, request(binary_in, binary_out), model_name="iris")
                outputs: dict[str, InferOutput] = {output.name: output for output in answer.outputs}
                assert outputs["predict"].as_numpy().tolist() == expected["classes"]
                assert np.array_equal(outputs["predict_proba"].as_numpy(), expected["probabilities"])
        for fault, model in ((rows[:, :3], "iris"), (np.full((1, 4), 1e39), "iris"), (rows, "rose")):
            try:
                await client.infer(base, request(False, False, fault), model_name=model)
            except httpx.HTTPStatusError as refused:
                assert refused.response.status_code in (400, 404)
                assert refused.response.json()["error"] in str(refused)
            else:
                raise AssertionError("a faulty request was answered")


asyncio.run(main())
print("kserve agrees")
