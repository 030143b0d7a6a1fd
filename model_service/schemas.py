"""The OpenAPI description of the prediction routes, made from the manifest; FastAPI describes the other routes.

The description has the same limits as the checks: row width, feature names, number range, number of rows.
"""

from typing import Any

from pydantic import BaseModel

from model_service.columns import LARGEST, example, integer_bounds
from model_service.manifest import Data, Feature, Manifest, Output
from model_service.open_inference import OpenInference
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


class ServerMetadata(BaseModel):
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


class Examples(BaseModel):
    """Rows as /predict takes them."""

    instances: list[list[Any]]


class Indexed(BaseModel):
    """A model in the index of the repository."""

    name: str
    version: str
    state: str
    reason: str


class Statistics(BaseModel):
    """Triton's statistics of the models."""

    model_stats: list[dict[str, Any]]


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
    values = [_value(feature) for feature in manifest.features]
    names = [feature.name for feature in manifest.features]
    row = {
        "type": "array",
        "prefixItems": values,
        "items": False,
        "minItems": len(values),
        "maxItems": len(values),
        "example": [example(feature) for feature in manifest.features],
    }
    named_row = {
        "type": "object",
        "properties": dict(zip(names, values, strict=True)),
        "required": names,
        "additionalProperties": False,
    }
    return {"type": "array", "items": {"oneOf": [row, named_row]}, "minItems": 1, "maxItems": settings.max_rows}


def _value(feature: Feature) -> dict[str, Any]:
    """The schema of one value of a column."""
    value = value_schema(feature)
    if feature.missing:
        value = {"anyOf": [value, {"type": "null"}]}
    title = f"{feature.name} in {feature.unit}" if feature.unit else feature.name
    return value | {"title": title, "example": example(feature)}


def value_schema(feature: Feature) -> dict[str, Any]:
    """The schema of a value that is not missing."""
    match feature.type:
        case "number":
            return {"type": "number", "minimum": -LARGEST, "maximum": LARGEST}
        case "integer":
            low, high = integer_bounds(feature.dtype)
            return {"type": "integer", "minimum": low, "maximum": high}
        case "category":
            if not feature.unknown:
                return {"enum": feature.categories}
            return {"type": "string" if isinstance(feature.categories[0], str) else "number"}
        case "datetime":
            zone = _OFFSET if "," in feature.dtype else ""
            year = _NANOSECOND_YEAR if "ns" in feature.dtype else _YEAR
            return {"type": "string", "pattern": f"^{year}{_DAY_AND_TIME}{zone}$"}
        case "boolean" | "text":
            return {"type": "boolean" if feature.type == "boolean" else "string"}


# Every text that fits is a date; so is the 29th of February in some years, which no pattern can say.
_YEAR = "[1-9][0-9]{3}"
_NANOSECOND_YEAR = "(1[7-9][0-9]{2}|2[01][0-9]{2}|22[0-5][0-9])"
_DAY_AND_TIME = (
    "-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
    "T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
)
_OFFSET = "(Z|[+-](0[0-9]|1[0-3]):[0-5][0-9])"


def _prediction(manifest: Manifest) -> dict[str, Any]:
    prediction = _prediction_of_row(manifest)
    model = {"name": {"const": manifest.name}, "version": {"const": manifest.version}}
    return {
        "type": "object",
        "properties": {
            "predictions": {"type": "array", "items": prediction, "minItems": 1},
            "model": {"type": "object", "properties": model, "required": list(model)},
        },
        "required": ["predictions", "model"],
    }


def _prediction_of_row(manifest: Manifest) -> dict[str, Any]:
    match manifest.kind:
        case "classifier":
            return _class_prediction(manifest, manifest.decision)
        case "regressor":
            return _members({"value": {"type": "number"}})
        case "clusterer":
            return _members({"cluster": {"type": "integer"}})
        case "outlier_detector":
            return _members({"outlier": {"type": "boolean"}, "score": {"type": ["number", "null"]}})
        case "multi_output":
            outputs = {
                output.name: _class_prediction(output) if output.classes else _members({"value": {"type": "number"}})
                for output in manifest.outputs
            }
            return _members({"outputs": _members(outputs)})


def _class_prediction(described: Manifest | Output, decision: int = 0) -> dict[str, Any]:
    probabilities: dict[str, Any] = {"type": "null"}
    if described.probabilistic:
        probability = {"type": "number", "minimum": 0, "maximum": 1}
        probabilities = _members(dict.fromkeys(described.labels, probability))
    members = {
        "label": {"enum": described.labels},
        "class": {"enum": described.classes},
        "probabilities": probabilities,
    }
    if decision:
        members["decision"] = {"type": ["number", "object", "array"]}
    return _members(members)


def _members(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


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
