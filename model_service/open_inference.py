"""The Open Inference Protocol v2: tensors in, tensors out, as JSON or with the binary tensor extension; and its metadata.

Input: one tensor of shape [rows, features] (or [features] for one row) with any name, or for each feature one tensor of shape
[rows] (or [rows, 1]) with the feature's name, as clients of MLServer send a DataFrame. Every datatype is taken; BYTES is text,
or what its parameter `content_type` says, as MLServer's codecs write it.
Output: `predict`, and what else the model has: `predict_proba`, `label`, `decision_function`.
Every fault in a request is a 400 with {"error": …}, as the protocol wants. No side effects; knows nothing of HTTP.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from model_service.errors import RequestRejected
from model_service.manifest import Feature, Manifest, Output
from model_service.model import Prediction
from model_service.parsing import parse_json
from model_service.rows import RowReader
from model_service.tensors import Tensor, describe, expect_list, expect_object, pack, parameters, read_tensor

INPUT = "features"
EXTENSIONS = ["binary_tensor_data"]
# The datatype of a column in the metadata.
_COLUMNS = {
    "number": "FP64",
    "integer": "INT64",
    "boolean": "BOOL",
    "category": "BYTES",
    "text": "BYTES",
    "datetime": "BYTES",
}


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request: its rows and the outputs that it asks for. `binary` names the outputs to send as bytes."""

    id: str | None
    rows: list[list[float]]
    outputs: tuple[str, ...]
    binary: frozenset[str]


class OpenInference:
    """Reads requests to one model and writes the responses.

    `outputs` has for each output its datatype, and its shape without the number of rows.
    """

    def __init__(self, manifest: Manifest, rows: RowReader) -> None:
        self._manifest = manifest
        self._rows = rows
        self._types = [feature.type for feature in manifest.features]
        self._has_booleans = "boolean" in self._types
        self.outputs = _outputs(manifest)

    def metadata(self, commit: str | None) -> dict[str, Any]:
        """The answer to GET /v2/models/NAME."""
        manifest = self._manifest
        return {
            "name": manifest.name,
            "versions": [manifest.version],
            "platform": manifest.platform,
            "inputs": self._inputs(),
            "outputs": [
                {"name": name, "datatype": datatype, "shape": [-1, *shape]}
                for name, (datatype, shape) in self.outputs.items()
            ],
            "properties": {
                "features": ",".join(self._rows.names),
                "labels": ",".join(manifest.labels),
                "trained_at": manifest.trained_at,
                "commit": commit or "",
            },
        }

    def configuration(self) -> dict[str, Any]:
        """The answer to GET /v2/models/NAME/config, as Triton's clients read it."""

        def triton(tensor: dict[str, Any]) -> dict[str, Any]:
            datatype = "TYPE_STRING" if tensor["datatype"] == "BYTES" else f"TYPE_{tensor['datatype']}"
            return {"name": tensor["name"], "data_type": datatype, "dims": tensor["shape"][1:] or [1]}

        described = self.metadata(None)
        return {
            "name": described["name"],
            "platform": described["platform"],
            "backend": "model_service",
            "max_batch_size": self._rows.max_rows,
            "version_policy": {"latest": {"num_versions": 1}},
            "input": [triton(tensor) for tensor in described["inputs"]],
            "output": [triton(tensor) for tensor in described["outputs"]],
        }

    def _inputs(self) -> list[dict[str, Any]]:
        """One tensor of numbers, or a tensor for each column if some columns hold something else."""
        features = self._manifest.features
        if self._manifest.only_numbers:
            return [{"name": INPUT, "datatype": "FP64", "shape": [-1, len(features)]}]
        return [{"name": feature.name, "datatype": _column_datatype(feature), "shape": [-1, 1]} for feature in features]

    def read(self, body: bytes, json_length: bytes | None) -> InferRequest:
        """The request in a body. If binary tensors follow the JSON, `json_length` says where. Raises RequestRejected 400."""
        try:
            return self._read(body, json_length)
        except RequestRejected as rejected:
            if rejected.status == 422:
                raise RequestRejected(400, rejected.message) from rejected
            raise

    def write(self, request: InferRequest, predictions: Sequence[Prediction]) -> tuple[bytes, int | None]:
        """The response to a request, and the length of its JSON if binary tensors follow."""
        tensors: list[dict[str, Any]] = []
        tail: list[bytes] = []
        for name in request.outputs:
            datatype, shape = self.outputs[name]
            data = self._output_data(name, predictions)
            tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": [len(predictions), *shape]}
            if name in request.binary:
                tail.append(pack(datatype, data))
                tensor["parameters"] = {"binary_data_size": len(tail[-1])}
            else:
                tensor["data"] = data
            tensors.append(tensor)
        message: dict[str, Any] = {"model_name": self._manifest.name, "model_version": self._manifest.version}
        if request.id is not None:
            message["id"] = request.id
        message["outputs"] = tensors
        head = json.dumps(message, separators=(",", ":")).encode()
        return (head + b"".join(tail), len(head)) if request.binary else (head, None)

    def _read(self, body: bytes, json_length: bytes | None) -> InferRequest:
        size = len(body) if json_length is None else _read_json_length(json_length, len(body))
        # Triton's client writes a missing number as NaN, which is not JSON.
        message = expect_object(parse_json(body[:size], constants=True), "the request")
        request_id = message.get("id")
        if request_id is not None and type(request_id) is not str:
            raise RequestRejected(400, "id: expected text")
        all_binary = parameters(message, "parameters").get("binary_data_output") is True
        tensors, tail = [], memoryview(body)[size:]
        for i, given in enumerate(expect_list(message.get("inputs"), "inputs")):
            tensor, used = read_tensor(expect_object(given, f"inputs[{i}]"), f"inputs[{i}]", tail, self._rows)
            tensors.append(tensor)
            tail = tail[used:]
        if tail:
            raise RequestRejected(400, f"{len(tail)} bytes follow the last tensor")
        outputs, binary = self._requested_outputs(message.get("outputs"), all_binary)
        return InferRequest(request_id, self._to_rows(tensors), outputs, binary)

    def _to_rows(self, tensors: list[Tensor]) -> list[list[float]]:
        """Rows from one tensor of all features, or from one tensor for each feature."""
        width, names = self._rows.width, self._rows.names
        if len(tensors) == 1 and tensors[0].shape[-1] == width:
            values = tensors[0].values
            by_row = [values[i : i + width] for i in range(0, len(values), width)]
            return self._rows.check(self._adapted(by_row, tensors), "inputs[0]")
        by_name = {tensor.name: tensor for tensor in tensors}
        if len(tensors) == 1 and tensors[0].name not in names:
            raise RequestRejected(400, f"inputs[0].shape: expected [rows, {width}], got {tensors[0].shape}")
        if len(by_name) != len(tensors) or set(by_name) != set(names):
            known = self._rows.names_text
            raise RequestRejected(
                400, f"inputs: expected one tensor of shape [rows, {width}], or one for each of {known}"
            )
        columns = [by_name[name] for name in names]
        rows = len(columns[0].values)
        if any(len(column.values) != rows or column.shape[1:] not in ([], [1]) for column in columns):
            raise RequestRejected(400, "inputs: the tensors of single features must all have shape [rows]")
        by_row = [list(row) for row in zip(*(one.values for one in columns), strict=True)]
        return self._rows.check(self._adapted(by_row, tensors), "inputs")

    def _adapted(self, rows: list[list[Any]], tensors: list[Tensor]) -> list[list[Any]]:
        """The rows with 0 and 1 as booleans in columns of booleans, and true and false as numbers in columns of numbers."""
        if not self._has_booleans and not any(tensor.datatype == "BOOL" for tensor in tensors):
            return rows
        return [[_adapt(value, kind) for value, kind in zip(row, self._types, strict=True)] for row in rows]

    def _requested_outputs(self, outputs: Any, all_binary: bool) -> tuple[tuple[str, ...], frozenset[str]]:
        """The names of the outputs, and which of them are sent as bytes."""
        if outputs is None or outputs == []:
            return tuple(self.outputs), frozenset(self.outputs if all_binary else ())
        names, binary = [], set()
        for i, output in enumerate(expect_list(outputs, "outputs")):
            name = expect_object(output, f"outputs[{i}]").get("name")
            if type(name) is not str or name not in self.outputs or name in names:
                known = ", ".join(self.outputs)
                raise RequestRejected(
                    400, f"outputs[{i}].name: expected one of {known}, each once, got {describe(name)}"
                )
            names.append(name)
            if parameters(output, f"outputs[{i}].parameters").get("binary_data", all_binary) is True:
                binary.add(name)
        return tuple(names), frozenset(binary)

    def _output_data(self, name: str, predictions: Sequence[Prediction]) -> list[Any]:
        manifest = self._manifest
        if name == "predict_proba":
            return list(chain.from_iterable(prediction.probabilities for prediction in predictions))
        if name == "label":
            return [manifest.labels[prediction.class_index] for prediction in predictions]
        if name == "decision_function":
            return list(chain.from_iterable(prediction.decision for prediction in predictions))
        if manifest.outputs:
            return self._outputs_data(name, predictions)
        if manifest.kind == "classifier":
            return [manifest.classes[prediction.class_index] for prediction in predictions]
        return [prediction.value for prediction in predictions]

    def _outputs_data(self, name: str, predictions: Sequence[Prediction]) -> list[Any]:
        """The data of a model with several outputs: its predictions, or the probabilities of one output."""
        outputs = self._manifest.outputs
        for k, output in enumerate(outputs):
            if name == f"predict_proba.{output.name}":
                return list(chain.from_iterable(prediction.outputs[k].probabilities for prediction in predictions))
        return [
            output.classes[one.class_index] if output.classes else one.value
            for prediction in predictions
            for output, one in zip(outputs, prediction.outputs, strict=True)
        ]


def _outputs(manifest: Manifest) -> dict[str, tuple[str, list[int]]]:
    """For each output its datatype, and its shape without the number of rows."""
    if manifest.kind == "multi_output":
        return _several_outputs(manifest.outputs)
    if manifest.kind in ("clusterer", "outlier_detector"):
        outputs: dict[str, tuple[str, list[int]]] = {"predict": ("INT64", [])}
        if manifest.decision:
            outputs["decision_function"] = ("FP64", [])
        return outputs
    outputs = {"predict": (_datatype(manifest.classes), [])}
    if manifest.probabilistic:
        outputs["predict_proba"] = ("FP64", [len(manifest.classes)])
    if manifest.decision:
        outputs["decision_function"] = ("FP64", [manifest.decision] if manifest.decision > 1 else [])
    if manifest.kind == "classifier":
        outputs["label"] = ("BYTES", [])
    return outputs


def _several_outputs(outputs: Sequence[Output]) -> dict[str, tuple[str, list[int]]]:
    """The predictions of all outputs, and the probabilities of each one."""
    classes = [value for output in outputs for value in output.classes]
    several: dict[str, tuple[str, list[int]]] = {"predict": (_datatype(classes), [len(outputs)])}
    for output in outputs:
        if output.probabilistic:
            several[f"predict_proba.{output.name}"] = ("FP64", [len(output.classes)])
    return several


def _datatype(classes: Sequence[Any]) -> str:
    """The datatype of the output `predict`; without classes it is a number."""
    types = {type(value) for value in classes}
    if not types:
        return "FP64"
    return {bool: "BOOL", int: "INT64", float: "FP64"}.get(types.pop(), "BYTES") if len(types) == 1 else "BYTES"


def _column_datatype(feature: Feature) -> str:
    if feature.type == "category" and not isinstance(feature.categories[0], str):
        return _datatype(feature.categories)
    return _COLUMNS[feature.type]


def _adapt(value: Any, kind: str) -> Any:
    if kind == "boolean" and type(value) in (int, float) and value in (0, 1):
        return bool(value)
    return int(value) if kind in ("number", "integer") and type(value) is bool else value


def _read_json_length(given: bytes, body_length: int) -> int:
    # int() itself fails on thousands of digits
    if not given.isdigit() or len(given) > 12 or int(given) > body_length:
        raise RequestRejected(400, "Inference-Header-Content-Length: expected the length of the JSON part of the body")
    return int(given)
