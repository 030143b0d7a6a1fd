"""Tensors of the Open Inference Protocol: read from JSON, or from the bytes that follow it, and written as bytes.

Every fault is a 400 that names the place. Knows nothing of a model but the width and number of its rows.
"""

import base64
import json
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from model_service.errors import RequestRejected
from model_service.rows import RowReader

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
    "BOOL": "?",
}
DATATYPES = (*_FORMATS, "BYTES")
_BITS = {name: int(name.lstrip("UINTFPBOL") or 8) for name in _FORMATS}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that was read. Its values are in row-major order."""

    name: str
    shape: list[int]
    datatype: str
    values: list[Any]


def read_tensor(tensor: dict[str, Any], where: str, tail: memoryview, rows: RowReader) -> tuple[Tensor, int]:
    """The tensor, and how many bytes of the tail it uses."""
    name, datatype, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    if type(name) is not str:
        raise RequestRejected(400, f"{where}.name: expected text")
    if type(datatype) is not str or datatype not in DATATYPES:
        raise RequestRejected(
            400, f"{where}.datatype: expected one of {', '.join(DATATYPES)}, got {describe(datatype)}"
        )
    if type(shape) is not list or not 1 <= len(shape) <= 2 or any(type(n) is not int or n < 1 for n in shape):
        raise RequestRejected(400, f"{where}.shape: expected [rows, {rows.width}], got {describe(shape)}")
    count = math.prod(shape)
    if count > rows.max_rows * rows.width:
        raise RequestRejected(400, f"{where}.shape: at most {rows.max_rows} rows are taken at once")
    given = parameters(tensor, f"{where}.parameters")
    size = given.get("binary_data_size")
    if size is None:
        values, used = _flatten(tensor.get("data"), datatype, shape, f"{where}.data"), 0
    elif "data" in tensor:
        raise RequestRejected(400, f"{where}: has data and binary_data_size, expected one of them")
    else:
        values, used = _unpack(tail, size, datatype, count, where), size
    if datatype == "BYTES":
        values = _decode(values, given.get("content_type"), where)
    return Tensor(name, shape, datatype, values), used


def _unpack(tail: memoryview, size: Any, datatype: str, count: int, where: str) -> list[Any]:
    """The values of a tensor that is sent as bytes."""
    if datatype == "BYTES":
        return _unpack_texts(tail, size, count, where)
    expected = count * _BITS[datatype] // 8
    if type(size) is not int or size != expected or size > len(tail):
        raise RequestRejected(
            400, f"{where}.parameters.binary_data_size: expected {expected} bytes, got {describe(size)}"
        )
    return list(struct.unpack_from(f"<{count}{_FORMATS[datatype]}", tail))


def pack(datatype: str, data: Sequence[Any]) -> bytes:
    """A tensor as bytes: little-endian numbers, or texts with their length in front."""
    if datatype != "BYTES":
        return struct.pack(f"<{len(data)}{_FORMATS[datatype]}", *data)
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
        if not all(value is None or (type(value) is int and low <= value < high) for value in data):
            raise RequestRejected(400, f"{where}: expected whole numbers that {datatype} can hold")
    expected = {"BOOL": (bool, "true or false"), "BYTES": (str, "text")}.get(datatype)
    if expected is not None and not all(value is None or type(value) is expected[0] for value in data):
        raise RequestRejected(400, f"{where}: expected {expected[1]} in a {datatype} tensor")
    return data


def _unpack_texts(tail: memoryview, size: Any, count: int, where: str) -> list[str]:
    """Texts with their length in front of each."""
    if type(size) is not int or not 0 <= size <= len(tail):
        raise RequestRejected(400, f"{where}.parameters.binary_data_size: expected the bytes of {count} texts")
    texts: list[str] = []
    used = 0
    while used + 4 <= size and len(texts) < count:
        (length,) = struct.unpack_from("<I", tail, used)
        if used + 4 + length > size:
            break
        try:
            texts.append(bytes(tail[used + 4 : used + 4 + length]).decode())
        except UnicodeDecodeError as exc:
            raise RequestRejected(400, f"{where}: text {len(texts)} is not UTF-8") from exc
        used += 4 + length
    if used != size or len(texts) != count:
        raise RequestRejected(400, f"{where}: expected {count} texts, each with its length in 4 bytes in front")
    return texts


def _from_base64(text: str) -> str:
    return base64.b64decode(text.encode(), validate=True).decode()


# How MLServer's codecs write the values of a BYTES tensor otherwise than as text: content type -> what reads one.
_CONTENTS: dict[str, Callable[[str], Any]] = {"base64": _from_base64, "pd_json": json.loads}


def _decode(values: list[Any], content_type: Any, where: str) -> list[Any]:
    """The values that the texts of a tensor stand for."""
    decode = _CONTENTS.get(content_type) if type(content_type) is str else None
    if decode is None:
        return values
    decoded = []
    for i, text in enumerate(values):
        try:
            decoded.append(None if text is None else decode(text))
        except (ValueError, RecursionError) as exc:
            raise RequestRejected(400, f"{where}: text {i} is not what its content_type says") from exc
    return decoded


def expect_object(value: Any, where: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise RequestRejected(400, f"{where}: expected an object, got {describe(value)}")
    return value


def parameters(parent: dict[str, Any], where: str) -> dict[str, Any]:
    given = parent.get("parameters")
    return {} if given is None else expect_object(given, where)


def expect_list(value: Any, where: str) -> list[Any]:
    if type(value) is not list or not value:
        raise RequestRejected(400, f"{where}: expected a list of at least one object, got {describe(value)}")
    return value


def describe(value: Any) -> str:
    """A JSON value in words, with at most a short quote, however large or deep the value is."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        is_short = len(value) <= 8 and not any(isinstance(item, (list, dict)) for item in value)
        return f"[{', '.join(map(describe, value))}]"[:80] if is_short else "a list"
    return json.dumps(value[:80] if isinstance(value, str) else value)[:80]
