"""The OpenAPI description of the prediction routes, made from the manifest; FastAPI describes the other routes.

The description has the same limits as the checks: row width, feature names, number range, number of rows.
"""

from typing import Any

from pydantic import BaseModel

from model_service.manifest import Data, Manifest
from model_service.open_inference import OpenInference
from model_service.rows import LARGEST
from model_service.schemas_open_inference import infer_operation
from model_service.settings import Settings

_ERRORS = {
    400: "The body is not JSON (or not UTF-8, or cut short); for the protocol: any fault in the request",
    405: "The method is not POST",
    408: "The request did not arrive in time",
    413: "The body is too large",
    415: "An unknown Content-Encoding",
    422: "The JSON does not fit this model; the error names the field",
    431: "The head is too large",
    500: "The service has a fault",
    503: "The model is loading, or there are too many requests at once; try again after Retry-After seconds",
    504: "The prediction took too long",
}


class Error(BaseModel):
    """The answer to a request that failed."""

    error: str


class Live(BaseModel):
    """Whether the process answers."""

    live: bool


class Ready(BaseModel):
    """Whether the service predicts; `error` says why not."""

    ready: bool
    live: bool
    error: str | None = None


class ModelReady(BaseModel):
    """Whether the service predicts with this model."""

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
    """The names of the models that are served."""

    models: list[str]


class Version(BaseModel):
    """The commit and the model that are served."""

    commit: str | None
    name: str
    version: str
    trained_at: str
    metrics: dict[str, Any]
    data: Data
    estimator: str
    seed: int
    libraries: dict[str, str]


def prediction_paths(manifest: Manifest, settings: Settings, protocol: OpenInference) -> dict[str, Any]:
    """The OpenAPI path items of /predict, /api and the inference routes."""
    rows = _rows(manifest, settings)
    infer = infer_operation(manifest, settings, protocol)
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
    row = {
        "type": "array",
        "prefixItems": values,
        "items": False,
        "minItems": len(values),
        "maxItems": len(values),
        "example": [feature.mean for feature in manifest.features],
    }
    named_row = {
        "type": "object",
        "properties": dict(zip(names, values, strict=True)),
        "required": names,
        "additionalProperties": False,
    }
    return {"type": "array", "items": {"oneOf": [row, named_row]}, "minItems": 1, "maxItems": settings.max_rows}


def _prediction(manifest: Manifest) -> dict[str, Any]:
    prediction: dict[str, Any] = {"type": "object", "properties": {"value": {"type": "number"}}, "required": ["value"]}
    if manifest.kind == "classifier":
        probabilities: dict[str, Any] = {"type": "null"}
        if manifest.probabilistic:
            probability = {"type": "number", "minimum": 0, "maximum": 1}
            probabilities = {
                "type": "object",
                "properties": dict.fromkeys(manifest.labels, probability),
                "required": manifest.labels,
            }
        members = {
            "label": {"enum": manifest.labels},
            "class": {"enum": manifest.classes},
            "probabilities": probabilities,
        }
        prediction = {"type": "object", "properties": members, "required": list(members)}
    model = {"name": {"const": manifest.name}, "version": {"const": manifest.version}}
    return {
        "type": "object",
        "properties": {
            "predictions": {"type": "array", "items": prediction, "minItems": 1},
            "model": {"type": "object", "properties": model, "required": list(model)},
        },
        "required": ["predictions", "model"],
    }


def _post(summary: str, members: dict[str, Any], response: dict[str, Any], description: str) -> dict[str, Any]:
    body = {"type": "object", "properties": members, "required": list(members)}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": {"description": description, "content": {"application/json": {"schema": response}}}},
    }


def _with_errors(operation: dict[str, Any]) -> dict[str, Any]:
    """The path item of a POST operation, with its error responses."""
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    errors = {str(status): {"description": text, "content": error} for status, text in _ERRORS.items()}
    return {"post": operation | {"responses": operation["responses"] | errors}}
