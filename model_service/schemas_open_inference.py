"""The OpenAPI description of an inference request, made from the manifest: what `open_inference.py` reads and writes.

A schema cannot say that a tensor holds as many numbers as its shape says, nor that tensors of single features must all be
there, so the description says it in words.
"""

from typing import Any

from model_service.columns import LARGEST, example
from model_service.manifest import Manifest
from model_service.open_inference import OpenInference
from model_service.settings import Settings
from model_service.tensors import DATATYPES

HEADER = "Inference-Header-Content-Length"
_TEXT = {"type": "string"}
_BYTES = {"type": "string", "format": "binary"}


def infer_operation(manifest: Manifest, settings: Settings, protocol: OpenInference) -> dict[str, Any]:
    """The OpenAPI operation of the infer routes without its errors."""
    width = len(manifest.features)
    description = (
        f"One tensor of shape [rows, {width}], or [{width}] for one row; or for each feature one tensor of shape [rows] or "
        f"[rows, 1] with the feature's name. At most {settings.max_rows} rows, and as many numbers as the shape says. "
        f"Binary tensors follow the JSON part, and {HEADER} says how long that is."
    )
    header = {"name": HEADER, "in": "header", "description": "Length of the JSON part, if binary tensors follow it"}
    return {
        "summary": "Open Inference Protocol v2",
        "description": description,
        "parameters": [header | {"required": False, "schema": {"type": "integer", "minimum": 1}}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _request(manifest, protocol), "example": _example(manifest, protocol)},
                "application/octet-stream": {"schema": _BYTES},
            },
        },
        "responses": {"200": {"description": "A tensor for each output", "content": _response(manifest, protocol)}},
    }


def _request(manifest: Manifest, protocol: OpenInference) -> dict[str, Any]:
    number: dict[str, Any] = {"type": "number", "minimum": -LARGEST, "maximum": LARGEST}
    values = [number]
    if any(feature.type not in ("number", "integer") for feature in manifest.features):
        values += [{"type": "boolean"}, _TEXT]
    if any(feature.missing for feature in manifest.features):
        values.append({"type": "null"})
    row = {"type": "array", "items": number if len(values) == 1 else {"oneOf": values}, "minItems": 1}
    tensor = {
        "type": "object",
        "properties": {
            "name": _TEXT,
            "datatype": {"enum": list(DATATYPES)},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 2},
            "data": {"oneOf": [row, {"type": "array", "items": row, "minItems": 1}]},
            "parameters": _parameters(binary_data_size="Length of this tensor's data in the binary part, in bytes"),
        },
        "required": ["name", "datatype", "shape"],
    }
    output = {
        "type": "object",
        "properties": {
            "name": {"enum": list(protocol.outputs)},
            "parameters": _parameters(binary_data="true: as bytes after the JSON part"),
        },
        "required": ["name"],
    }
    return {
        "type": "object",
        "properties": {
            "id": {"type": ["string", "null"]},
            "parameters": _parameters(binary_data_output="true: all outputs as bytes after the JSON part"),
            "inputs": {"type": "array", "items": tensor, "minItems": 1, "maxItems": max(1, len(manifest.features))},
            "outputs": {"type": ["array", "null"], "items": output, "maxItems": len(protocol.outputs)},
        },
        "required": ["inputs"],
    }


def _response(manifest: Manifest, protocol: OpenInference) -> dict[str, Any]:
    tensor = {
        "type": "object",
        "properties": {
            "name": {"enum": list(protocol.outputs)},
            "datatype": {"enum": sorted({datatype for datatype, _ in protocol.outputs.values()})},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array"},
            "parameters": _parameters(binary_data_size="Length of this tensor's data in the binary part, in bytes"),
        },
        "required": ["name", "datatype", "shape"],
    }
    response = {
        "type": "object",
        "properties": {
            "model_name": {"const": manifest.name},
            "model_version": {"const": manifest.version},
            "id": _TEXT,
            "outputs": {"type": "array", "items": tensor},
        },
        "required": ["model_name", "model_version", "outputs"],
    }
    return {"application/json": {"schema": response}, "application/octet-stream": {"schema": _BYTES}}


def _parameters(**descriptions: str) -> dict[str, Any]:
    """The schema of parameters. Unknown members and other values are allowed, and have no effect."""
    return {
        "type": ["object", "null"],
        "properties": {name: {"description": text} for name, text in descriptions.items()},
    }


def _example(manifest: Manifest, protocol: OpenInference) -> dict[str, Any]:
    row = [example(feature) for feature in manifest.features]
    if manifest.only_numbers:
        return {"inputs": [{"name": "features", "datatype": "FP64", "shape": [1, len(row)], "data": row}]}
    tensors = protocol.metadata(None)["inputs"]
    return {"inputs": [tensor | {"shape": [1, 1], "data": [value]} for tensor, value in zip(tensors, row, strict=True)]}
