"""The Open Inference Protocol v2: tensors in, tensors out, as JSON or with the binary tensor extension; and its metadata.

Input: one tensor of shape [rows, features] (or [features] for one row) with any name, or for each feature one tensor of shape
[rows] (or [rows, 1]) with the feature's name. Every numeric datatype is taken. Output: `predict`, `predict_proba`, `label`.
Every fault in a request is a 400 with {"error": …}, as the protocol wants. No side effects; knows nothing of HTTP.
"""

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from model_service.errors import RequestRejected
from model_service.manifest import Manifest
from model_service.model import Prediction
from model_service.parsing import parse_json
from model_service.rows import RowReader

INPUT = "features"
EXTENSIONS = ["binary_tensor_data"]
_FORMATS = {
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
DATATYPES = tuple(_FORMATS)
_BITS = {name: int(name.lstrip("UINTFP")) for name in _FORMATS}


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
        outputs: dict[str, tuple[str, list[int]]] = {"predict": (_predict_datatype(manifest), [])}
        if manifest.probabilistic:
            outputs["predict_proba"] = ("FP64", [len(manifest.classes)])
        if manifest.kind == "classifier":
            outputs["label"] = ("BYTES", [])
        self.outputs = outputs

    def metadata(self, commit: str | None) -> dict[str, Any]:
        """The answer to GET /v2/models/NAME."""
        manifest = self._manifest
        return {
            "name": manifest.name,
            "versions": [manifest.version],
            "platform": f"sklearn_{manifest.format}",
            "inputs": [{"name": INPUT, "datatype": "FP64", "shape": [-1, len(manifest.features)]}],
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
                tail.append(_pack(datatype, data))
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
        message = _object(parse_json(body[:size]), "the request")
        request_id = message.get("id")
        if request_id is not None and type(request_id) is not str:
            raise RequestRejected(400, "id: expected text")
        all_binary = _parameters(message, "parameters").get("binary_data_output") is True
        tensors, tail = [], memoryview(body)[size:]
        for i, given in enumerate(_list(message.get("inputs"), "inputs")):
            tensor, used = self._read_tensor(_object(given, f"inputs[{i}]"), f"inputs[{i}]", tail)
            tensors.append(tensor)
            tail = tail[used:]
        if tail:
            raise RequestRejected(400, f"{len(tail)} bytes follow the last tensor")
        outputs, binary = self._requested_outputs(message.get("outputs"), all_binary)
        return InferRequest(request_id, self._to_rows(tensors), outputs, binary)

    def _read_tensor(self, tensor: dict[str, Any], where: str, tail: memoryview) -> tuple["_Tensor", int]:
        """The tensor, and how many bytes of the tail it uses."""
        name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
        if type(name) is not str:
            raise RequestRejected(400, f"{where}.name: expected text")
        if type(datatype) is not str or datatype not in _FORMATS:
            raise RequestRejected(
                400, f"{where}.datatype: expected one of {', '.join(_FORMATS)}, got {_describe(datatype)}"
            )
        if type(shape) is not list or not 1 <= len(shape) <= 2 or any(type(n) is not int or n < 1 for n in shape):
            raise RequestRejected(400, f"{where}.shape: expected [rows, {self._rows.width}], got {_describe(shape)}")
        count = math.prod(shape)
        if count > self._rows.max_rows * self._rows.width:
            raise RequestRejected(400, f"{where}.shape: at most {self._rows.max_rows} rows are taken at once")
        size = _parameters(tensor, f"{where}.parameters").get("binary_data_size")
        if size is None:
            return _Tensor(name, shape, _flatten(tensor.get("data"), datatype, shape, f"{where}.data")), 0
        if "data" in tensor:
            raise RequestRejected(400, f"{where}: has data and binary_data_size, expected one of them")
        expected = count * _BITS[datatype] // 8
        if type(size) is not int or size != expected or size > len(tail):
            raise RequestRejected(
                400, f"{where}.parameters.binary_data_size: expected {expected} bytes, got {_describe(size)}"
            )
        return _Tensor(name, shape, list(struct.unpack_from(f"<{count}{_FORMATS[datatype]}", tail))), size

    def _to_rows(self, tensors: "list[_Tensor]") -> list[list[float]]:
        """Rows from one tensor of all features, or from one tensor for each feature."""
        width, names = self._rows.width, self._rows.names
        if len(tensors) == 1 and tensors[0].shape[-1] == width:
            values = tensors[0].values
            return self._rows.check([values[i : i + width] for i in range(0, len(values), width)], "inputs[0]")
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
        return self._rows.check([list(row) for row in zip(*(one.values for one in columns), strict=True)], "inputs")

    def _requested_outputs(self, outputs: Any, all_binary: bool) -> tuple[tuple[str, ...], frozenset[str]]:
        """The names of the outputs, and which of them are sent as bytes."""
        if outputs is None or outputs == []:
            return tuple(self.outputs), frozenset(self.outputs if all_binary else ())
        names, binary = [], set()
        for i, output in enumerate(_list(outputs, "outputs")):
            name = _object(output, f"outputs[{i}]").get("name")
            if type(name) is not str or name not in self.outputs or name in names:
                known = ", ".join(self.outputs)
                raise RequestRejected(
                    400, f"outputs[{i}].name: expected one of {known}, each once, got {_describe(name)}"
                )
            names.append(name)
            if _parameters(output, f"outputs[{i}].parameters").get("binary_data", all_binary) is True:
                binary.add(name)
        return tuple(names), frozenset(binary)

    def _output_data(self, name: str, predictions: Sequence[Prediction]) -> list[Any]:
        if name == "predict_proba":
            return list(chain.from_iterable(prediction.probabilities for prediction in predictions))
        if name == "label":
            return [self._manifest.labels[prediction.class_index] for prediction in predictions]
        if self._manifest.kind == "regressor":
            return [prediction.value for prediction in predictions]
        return [self._manifest.classes[prediction.class_index] for prediction in predictions]


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    shape: list[int]
    values: list[Any]


def _predict_datatype(manifest: Manifest) -> str:
    """The datatype of the output `predict`."""
    if manifest.kind == "regressor":
        return "FP64"
    types = {type(value) for value in manifest.classes}
    return {bool: "BOOL", int: "INT64"}.get(types.pop(), "BYTES") if len(types) == 1 else "BYTES"


def _pack(datatype: str, data: Sequence[Any]) -> bytes:
    """A tensor as bytes: little-endian numbers, or texts with their length in front."""
    if datatype != "BYTES":
        return struct.pack(f"<{len(data)}{'?' if datatype == 'BOOL' else _FORMATS[datatype]}", *data)
    texts = [str(text).encode() for text in data]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _flatten(given: Any, datatype: str, shape: list[int], where: str) -> list[Any]:
    """JSON data as a flat list. It may come flat, or nested as its shape says."""
    if type(given) is not list:
        raise RequestRejected(400, f"{where}: expected a list of {math.prod(shape)} numbers")
    data: list[Any] = given
    if len(shape) == 2 and data and type(data[0]) is list:
        if len(data) != shape[0] or any(type(row) is not list or len(row) != shape[1] for row in data):
            raise RequestRejected(400, f"{where}: expected {shape[0]} lists of {shape[1]} numbers, as the shape says")
        data = list(chain.from_iterable(data))
    if len(data) != math.prod(shape):
        raise RequestRejected(400, f"{where}: expected {math.prod(shape)} numbers, as the shape says, got {len(data)}")
    if "INT" in datatype:
        bits = _BITS[datatype]
        low, high = (0, 2**bits) if datatype[0] == "U" else (-(2 ** (bits - 1)), 2 ** (bits - 1))
        if not all(type(value) is int and low <= value < high for value in data):
            raise RequestRejected(400, f"{where}: expected whole numbers that {datatype} can hold")
    return data


def _read_json_length(given: bytes, body_length: int) -> int:
    # int() itself fails on thousands of digits
    if not given.isdigit() or len(given) > 12 or int(given) > body_length:
        raise RequestRejected(400, "Inference-Header-Content-Length: expected the length of the JSON part of the body")
    return int(given)


def _object(value: Any, where: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise RequestRejected(400, f"{where}: expected an object, got {_describe(value)}")
    return value


def _parameters(parent: dict[str, Any], where: str) -> dict[str, Any]:
    given = parent.get("parameters")
    return {} if given is None else _object(given, where)


def _list(value: Any, where: str) -> list[Any]:
    if type(value) is not list or not value:
        raise RequestRejected(400, f"{where}: expected a list of at least one object, got {_describe(value)}")
    return value


def _describe(value: Any) -> str:
    """A JSON value in words, with at most a short quote, however large or deep the value is."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        is_short = len(value) <= 8 and not any(isinstance(item, (list, dict)) for item in value)
        return f"[{', '.join(map(_describe, value))}]"[:80] if is_short else "a list"
    return json.dumps(value[:80] if isinstance(value, str) else value)[:80]
