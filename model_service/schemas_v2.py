"""The OpenAPI description of an inference message, made from the manifest: what `v2.py` reads and writes.

A schema cannot say that a tensor holds as many numbers as its shape names, nor that tensors of single features come all
together: the text does.
"""

from typing import Any

from model_service.manifest import Manifest
from model_service.rows import LARGEST
from model_service.settings import Settings
from model_service.v2 import DATATYPES, Protocol

HEADER = "Inference-Header-Content-Length"
_TEXT = {"type": "string"}
_BYTES = {"type": "string", "format": "binary"}


def inference(manifest: Manifest, settings: Settings, protocol: Protocol) -> dict[str, Any]:
    """The OpenAPI operation of the infer routes, all but its errors."""
    width = len(manifest.features)
    told = (
        f"One tensor of shape [rows, {width}], or [{width}] for one row; or one of shape [rows] or [rows, 1] for each feature, "
        f"named as it is. At most {settings.max_rows} rows, as many numbers as the shape says. "
        f"Binary tensors follow the JSON part, whose length {HEADER} tells."
    )
    about = {"name": HEADER, "in": "header", "description": "How much of the body is JSON, if binary tensors follow"}
    return {
        "summary": "Open Inference Protocol v2",
        "description": told,
        "parameters": [about | {"required": False, "schema": {"type": "integer", "minimum": 1}}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _question(manifest, protocol), "example": _example(manifest)},
                "application/octet-stream": {"schema": _BYTES},
            },
        },
        "responses": {"200": {"description": "A tensor for each output", "content": _answer(manifest, protocol)}},
    }


def _question(manifest: Manifest, protocol: Protocol) -> dict[str, Any]:
    number: dict[str, Any] = {"type": "number", "minimum": -LARGEST, "maximum": LARGEST}
    if any(feature.missing for feature in manifest.features):
        number = {"oneOf": [number, {"type": "null"}]}
    row = {"type": "array", "items": number, "minItems": 1}
    tensor = {
        "type": "object",
        "properties": {
            "name": _TEXT,
            "datatype": {"enum": list(DATATYPES)},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 2},
            "data": {"oneOf": [row, {"type": "array", "items": row, "minItems": 1}]},
            "parameters": _parameters(binary_data_size="How many bytes of the binary part are this tensor's data"),
        },
        "required": ["name", "datatype", "shape"],
    }
    output = {
        "type": "object",
        "properties": {
            "name": {"enum": list(protocol.outputs)},
            "parameters": _parameters(binary_data="true: as bytes behind the JSON part"),
        },
        "required": ["name"],
    }
    return {
        "type": "object",
        "properties": {
            "id": {"type": ["string", "null"]},
            "parameters": _parameters(binary_data_output="true: all outputs as bytes behind the JSON part"),
            "inputs": {"type": "array", "items": tensor, "minItems": 1, "maxItems": max(1, len(manifest.features))},
            "outputs": {"type": ["array", "null"], "items": output, "maxItems": len(protocol.outputs)},
        },
        "required": ["inputs"],
    }


def _answer(manifest: Manifest, protocol: Protocol) -> dict[str, Any]:
    tensor = {
        "type": "object",
        "properties": {
            "name": {"enum": list(protocol.outputs)},
            "datatype": {"enum": sorted({kind for kind, _ in protocol.outputs.values()})},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array"},
            "parameters": _parameters(binary_data_size="How many bytes of the binary part are this tensor's data"),
        },
        "required": ["name", "datatype", "shape"],
    }
    answer = {
        "type": "object",
        "properties": {
            "model_name": {"const": manifest.name},
            "model_version": {"const": manifest.version},
            "id": _TEXT,
            "outputs": {"type": "array", "items": tensor},
        },
        "required": ["model_name", "model_version", "outputs"],
    }
    return {"application/json": {"schema": answer}, "application/octet-stream": {"schema": _BYTES}}


def _parameters(**described: str) -> dict[str, Any]:
    """An object of which only some members mean something, and only with the right value."""
    return {
        "type": ["object", "null"],
        "properties": {name: {"description": text} for name, text in described.items()},
    }


def _example(manifest: Manifest) -> dict[str, Any]:
    row = [feature.mean for feature in manifest.features]
    return {"inputs": [{"name": "features", "datatype": "FP64", "shape": [1, len(row)], "data": row}]}
