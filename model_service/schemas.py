"""The OpenAPI description of the hot routes, made from the manifest; FastAPI describes the others.

What is described is what is checked: row width, feature names, number range, row limit.
"""

from typing import Any

from pydantic import BaseModel

from model_service.manifest import Manifest
from model_service.rows import LARGEST
from model_service.schemas_v2 import inference
from model_service.settings import Settings
from model_service.v2 import Protocol

_CAUSES = {
    400: "The body is not JSON (or not UTF-8, or cut short); for the protocol: any fault in the request",
    405: "Only POST",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "An unknown Content-Encoding",
    422: "JSON that does not fit this model: the error names the field",
    431: "The head is too large",
    500: "A fault of the service",
    503: "Loading, or too many requests at once: try again after Retry-After seconds",
    504: "The prediction took too long",
}


class Error(BaseModel):
    """Every answer that is not a prediction."""

    error: str


class Live(BaseModel):
    """The process answers."""

    live: bool


class Ready(BaseModel):
    """Whether predictions are answered; `error` says why not."""

    ready: bool
    live: bool
    error: str | None = None


class ModelReady(BaseModel):
    """The protocol's readiness of one model."""

    name: str
    ready: bool


class Server(BaseModel):
    """The protocol's server metadata."""

    name: str
    version: str
    extensions: list[str]


class Tensor(BaseModel):
    """Name, datatype and shape of an input or output; -1 is the number of rows."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """The protocol's model metadata."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    properties: dict[str, str]


class Models(BaseModel):
    """The models that are served: one."""

    models: list[str]


class Version(BaseModel):
    """Which commit and which model answers."""

    commit: str | None
    name: str
    version: str
    trained_at: str
    metrics: dict[str, Any]
    libraries: dict[str, str]


def hot_paths(manifest: Manifest, settings: Settings, protocol: Protocol) -> dict[str, Any]:
    """The OpenAPI path items of /predict, /api and the inference routes."""
    rows = _rows(manifest, settings)
    infer = inference(manifest, settings, protocol)
    operations = {
        "/predict": _post(
            "Predict rows", {"instances": rows}, _prediction(manifest), "One prediction for each row, in order."
        ),
        "/api": _post(
            "Predict one row as a bare number",
            {"feature": rows},
            {"type": "number"},
            "The class index (classifier) or value (regressor) of the first row.",
        ),
        f"/v2/models/{manifest.name}/infer": infer,
        f"/v2/models/{manifest.name}/versions/{manifest.version}/infer": infer,
    }
    return {path: _with_errors(operation) for path, operation in operations.items()}


def _rows(manifest: Manifest, settings: Settings) -> dict[str, Any]:
    values = []
    for feature in manifest.features:
        number: dict[str, Any] = {"type": "number", "minimum": -LARGEST, "maximum": LARGEST}
        if feature.missing:
            number = {"oneOf": [number, {"type": "null"}]}
        title = f"{feature.name} in {feature.unit}" if feature.unit else feature.name
        values.append(number | {"title": title, "example": feature.mean})
    names = [feature.name for feature in manifest.features]
    listed = {
        "type": "array",
        "prefixItems": values,
        "items": False,
        "minItems": len(values),
        "maxItems": len(values),
        "example": [feature.mean for feature in manifest.features],
    }
    named = {
        "type": "object",
        "properties": dict(zip(names, values, strict=True)),
        "required": names,
        "additionalProperties": False,
    }
    return {"type": "array", "items": {"oneOf": [listed, named]}, "minItems": 1, "maxItems": settings.max_rows}


def _prediction(manifest: Manifest) -> dict[str, Any]:
    one: dict[str, Any] = {"type": "object", "properties": {"value": {"type": "number"}}, "required": ["value"]}
    if manifest.kind == "classifier":
        share = {"type": "number", "minimum": 0, "maximum": 1}
        shares: dict[str, Any] = {"type": "null"}
        if manifest.probabilistic:
            shares = {
                "type": "object",
                "properties": dict.fromkeys(manifest.labels, share),
                "required": manifest.labels,
            }
        described = {"label": {"enum": manifest.labels}, "class": {"enum": manifest.classes}, "probabilities": shares}
        one = {"type": "object", "properties": described, "required": list(described)}
    names = {"name": {"const": manifest.name}, "version": {"const": manifest.version}}
    return {
        "type": "object",
        "properties": {
            "predictions": {"type": "array", "items": one, "minItems": 1},
            "model": {"type": "object", "properties": names, "required": list(names)},
        },
        "required": ["predictions", "model"],
    }


def _post(summary: str, takes: dict[str, Any], gives: dict[str, Any], told: str) -> dict[str, Any]:
    body = {"type": "object", "properties": takes, "required": list(takes)}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": {"description": told, "content": {"application/json": {"schema": gives}}}},
    }


def _with_errors(operation: dict[str, Any]) -> dict[str, Any]:
    """The path item of a POST, with all its other answers."""
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    errors = {str(status): {"description": cause, "content": error} for status, cause in _CAUSES.items()}
    return {"post": operation | {"responses": operation["responses"] | errors}}
