"""The Open Inference Protocol v2: tensors in, tensors out, as JSON or with the binary tensor extension; and its metadata.

Input: one tensor of shape [rows, features] (or [features] for one row; any name), or one tensor of shape [rows] (or
[rows, 1]) for each feature, named so. Every numeric datatype is taken. Output: `predict`, `predict_proba`, `label`. Every
fault in a request is a 400 with {"error": …}, as the protocol wants. Pure; knows nothing of HTTP.
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
from model_service.model import Answer
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
class Inference:
    """A request that was read: its rows, and the outputs that it wants; `binary` names those to send as bytes."""

    id: str | None
    rows: list[list[float]]
    outputs: tuple[str, ...]
    binary: frozenset[str]


class Protocol:
    """Reads and writes inference messages of one model. `outputs`: name -> datatype and what follows the rows in its shape."""

    def __init__(self, manifest: Manifest, rows: RowReader) -> None:
        self._manifest = manifest
        self._rows = rows
        kinds: dict[str, tuple[str, list[int]]] = {"predict": (_datatype(manifest), [])}
        if manifest.probabilistic:
            kinds["predict_proba"] = ("FP64", [len(manifest.classes)])
        if manifest.kind == "classifier":
            kinds["label"] = ("BYTES", [])
        self.outputs = kinds

    def metadata(self, commit: str | None) -> dict[str, Any]:
        """What GET /v2/models/NAME tells of a model that is served at a commit."""
        manifest = self._manifest
        return {
            "name": manifest.name,
            "versions": [manifest.version],
            "platform": f"sklearn_{manifest.format}",
            "inputs": [{"name": INPUT, "datatype": "FP64", "shape": [-1, len(manifest.features)]}],
            "outputs": [
                {"name": name, "datatype": kind, "shape": [-1, *rest]} for name, (kind, rest) in self.outputs.items()
            ],
            "properties": {
                "features": ",".join(self._rows.names),
                "labels": ",".join(manifest.labels),
                "trained_at": manifest.trained_at,
                "commit": commit or "",
            },
        }

    def read(self, body: bytes, header_length: bytes | None) -> Inference:
        """The request in a body; `header_length` is how much of it is JSON, if tensors follow. Raises RequestRejected 400."""
        try:
            return self._read(body, header_length)
        except RequestRejected as rejected:
            if rejected.status == 422:
                raise RequestRejected(400, rejected.message) from rejected
            raise

    def write(self, asked: Inference, answers: Sequence[Answer]) -> tuple[bytes, int | None]:
        """The response to a request, and how much of it is JSON if tensors follow."""
        tensors: list[dict[str, Any]] = []
        tail: list[bytes] = []
        for name in asked.outputs:
            kind, rest = self.outputs[name]
            data = self._data(name, answers)
            tensor: dict[str, Any] = {"name": name, "datatype": kind, "shape": [len(answers), *rest]}
            if name in asked.binary:
                tail.append(_packed(kind, data))
                tensor["parameters"] = {"binary_data_size": len(tail[-1])}
            else:
                tensor["data"] = data
            tensors.append(tensor)
        message: dict[str, Any] = {"model_name": self._manifest.name, "model_version": self._manifest.version}
        if asked.id is not None:
            message["id"] = asked.id
        message["outputs"] = tensors
        head = json.dumps(message, separators=(",", ":")).encode()
        return (head + b"".join(tail), len(head)) if asked.binary else (head, None)

    def _read(self, body: bytes, header_length: bytes | None) -> Inference:
        size = len(body) if header_length is None else _header_size(header_length, len(body))
        message = _object(parse_json(body[:size]), "the request")
        number = message.get("id")
        if number is not None and type(number) is not str:
            raise RequestRejected(400, "id: expected text")
        wants_binary = _parameters(message, "parameters").get("binary_data_output") is True
        tensors = _list(message.get("inputs"), "inputs")
        columns, tail = [], memoryview(body)[size:]
        for i, tensor in enumerate(tensors):
            read, taken = self._tensor(_object(tensor, f"inputs[{i}]"), f"inputs[{i}]", tail)
            columns.append(read)
            tail = tail[taken:]
        if tail:
            raise RequestRejected(400, f"{len(tail)} bytes follow the last tensor")
        outputs, binary = self._wanted(message.get("outputs"), wants_binary)
        return Inference(number, self._joined(columns), outputs, binary)

    def _tensor(self, tensor: dict[str, Any], at: str, tail: memoryview) -> tuple["_Tensor", int]:
        name, kind, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
        if type(name) is not str:
            raise RequestRejected(400, f"{at}.name: expected text")
        if type(kind) is not str or kind not in _FORMATS:
            raise RequestRejected(400, f"{at}.datatype: expected one of {', '.join(_FORMATS)}, got {_shown(kind)}")
        if type(shape) is not list or not 1 <= len(shape) <= 2 or any(type(n) is not int or n < 1 for n in shape):
            raise RequestRejected(400, f"{at}.shape: expected [rows, {self._rows.width}], got {_shown(shape)}")
        count = math.prod(shape)
        if count > self._rows.max_rows * self._rows.width:
            raise RequestRejected(400, f"{at}.shape: at most {self._rows.max_rows} rows are taken at once")
        size = _parameters(tensor, f"{at}.parameters").get("binary_data_size")
        if size is None:
            return _Tensor(name, shape, _flat(tensor.get("data"), kind, shape, f"{at}.data")), 0
        if "data" in tensor:
            raise RequestRejected(400, f"{at}: holds data and binary_data_size; one of them is wanted")
        if type(size) is not int or size != count * _BITS[kind] // 8 or size > len(tail):
            raise RequestRejected(
                400, f"{at}.parameters.binary_data_size: expected {count * _BITS[kind] // 8} bytes, got {_shown(size)}"
            )
        return _Tensor(name, shape, list(struct.unpack_from(f"<{count}{_FORMATS[kind]}", tail))), size

    def _joined(self, tensors: "list[_Tensor]") -> list[list[float]]:
        """Rows from one tensor of all features, or from one tensor a feature."""
        width, names = self._rows.width, self._rows.names
        if len(tensors) == 1 and tensors[0].shape[-1] == width:
            only = tensors[0].values
            return self._rows.checked([only[i : i + width] for i in range(0, len(only), width)], "inputs[0]")
        by_name = {tensor.name: tensor for tensor in tensors}
        if len(tensors) == 1 and tensors[0].name not in names:
            raise RequestRejected(400, f"inputs[0].shape: expected [rows, {width}], got {tensors[0].shape}")
        if len(by_name) != len(tensors) or set(by_name) != set(names):
            known = self._rows.listing
            raise RequestRejected(
                400, f"inputs: expected one tensor of shape [rows, {width}], or one for each of {known}"
            )
        columns = [by_name[name] for name in names]
        if any(len(one.values) != len(columns[0].values) or one.shape[1:] not in ([], [1]) for one in columns):
            raise RequestRejected(400, "inputs: the tensors of single features must all have shape [rows]")
        return self._rows.checked([list(row) for row in zip(*(one.values for one in columns), strict=True)], "inputs")

    def _wanted(self, outputs: Any, binary: bool) -> tuple[tuple[str, ...], frozenset[str]]:
        if outputs is None or outputs == []:
            return tuple(self.outputs), frozenset(self.outputs if binary else ())
        names, raw = [], set()
        for i, output in enumerate(_list(outputs, "outputs")):
            name = _object(output, f"outputs[{i}]").get("name")
            if type(name) is not str or name not in self.outputs or name in names:
                known = ", ".join(self.outputs)
                raise RequestRejected(400, f"outputs[{i}].name: expected one of {known}, each once, got {_shown(name)}")
            names.append(name)
            if _parameters(output, f"outputs[{i}].parameters").get("binary_data", binary) is True:
                raw.add(name)
        return tuple(names), frozenset(raw)

    def _data(self, name: str, answers: Sequence[Answer]) -> list[Any]:
        if name == "predict_proba":
            return list(chain.from_iterable(answer.probabilities for answer in answers))
        if name == "label":
            return [self._manifest.labels[answer.chosen] for answer in answers]
        if self._manifest.kind == "regressor":
            return [answer.value for answer in answers]
        return [self._manifest.classes[answer.chosen] for answer in answers]


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    shape: list[int]
    values: list[Any]


def _datatype(manifest: Manifest) -> str:
    """The datatype of `predict`."""
    if manifest.kind == "regressor":
        return "FP64"
    kinds = {type(value) for value in manifest.classes}
    return {bool: "BOOL", int: "INT64"}.get(kinds.pop(), "BYTES") if len(kinds) == 1 else "BYTES"


def _packed(kind: str, data: Sequence[Any]) -> bytes:
    """A tensor as bytes: little-endian, text with its length in front."""
    if kind != "BYTES":
        return struct.pack(f"<{len(data)}{'?' if kind == 'BOOL' else _FORMATS[kind]}", *data)
    texts = [str(text).encode() for text in data]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def _flat(given: Any, kind: str, shape: list[int], at: str) -> list[Any]:
    """JSON data, flat or nested as its shape says, as a flat list."""
    if type(given) is not list:
        raise RequestRejected(400, f"{at}: expected a list of {math.prod(shape)} numbers")
    data: list[Any] = given
    if len(shape) == 2 and data and type(data[0]) is list:
        if len(data) != shape[0] or any(type(row) is not list or len(row) != shape[1] for row in data):
            raise RequestRejected(400, f"{at}: expected {shape[0]} lists of {shape[1]} numbers, as the shape says")
        data = list(chain.from_iterable(data))
    if len(data) != math.prod(shape):
        raise RequestRejected(400, f"{at}: expected {math.prod(shape)} numbers, as the shape says, got {len(data)}")
    if "INT" in kind:
        low, high = (0, 2 ** _BITS[kind]) if kind[0] == "U" else (-(2 ** (_BITS[kind] - 1)), 2 ** (_BITS[kind] - 1))
        if not all(type(value) is int and low <= value < high for value in data):
            raise RequestRejected(400, f"{at}: expected whole numbers that {kind} can hold")
    return data


def _header_size(given: bytes, whole: int) -> int:
    if not given.isdigit() or len(given) > 12 or int(given) > whole:  # int() itself fails on thousands of digits
        raise RequestRejected(400, "Inference-Header-Content-Length: expected the length of the JSON part of the body")
    return int(given)


def _object(value: Any, what: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise RequestRejected(400, f"{what}: expected an object, got {_shown(value)}")
    return value


def _parameters(holder: dict[str, Any], what: str) -> dict[str, Any]:
    given = holder.get("parameters")
    return {} if given is None else _object(given, what)


def _list(value: Any, what: str) -> list[Any]:
    if type(value) is not list or not value:
        raise RequestRejected(400, f"{what}: expected a list of at least one object, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """What a JSON value is, in words that quote little of it, however large or deep it is."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        plain = len(value) <= 8 and not any(isinstance(one, (list, dict)) for one in value)
        return f"[{', '.join(map(_shown, value))}]"[:80] if plain else "a list"
    return json.dumps(value[:80] if isinstance(value, str) else value)[:80]
