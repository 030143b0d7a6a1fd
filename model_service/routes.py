"""The request and answer formats of each prediction route. Knows nothing of ASGI."""

import json
from collections.abc import Sequence
from typing import Any, Protocol

from model_service.errors import RequestRejected
from model_service.metrics import ROUTES
from model_service.model import Prediction
from model_service.open_inference import InferRequest
from model_service.parsing import parse_json
from model_service.service import Service

Headers = dict[bytes, bytes]
HeaderList = list[tuple[bytes, bytes]]
Rows = list[list[Any]]

JSON: HeaderList = [(b"content-type", b"application/json")]
_JSON_LENGTH = b"inference-header-content-length"


class Route(Protocol):
    """One prediction route. `number` is its place in metrics.ROUTES."""

    number: int

    def read(self, body: bytes, headers: Headers) -> tuple[Rows, Any]:
        """The rows in a body, and what `write` needs to know of the request. Raises RequestRejected."""
        ...

    def write(self, request: Any, predictions: Sequence[Prediction]) -> tuple[HeaderList, bytes]:
        """The content headers and the content of the answer."""
        ...


def prediction_routes(service: Service) -> dict[str, Route]:
    """The routes by path."""
    manifest = service.manifest
    infer = InferRoute(service)
    return {
        "/predict": PredictRoute(service),
        "/api": RecipeRoute(service),
        f"/v2/models/{manifest.name}/infer": infer,
        f"/v2/models/{manifest.name}/versions/{manifest.version}/infer": infer,
    }


class PredictRoute:
    """`{"instances": [[…]]}` to `{"predictions": […], "model": {…}}`; MLflow's forms of rows are taken too."""

    number = ROUTES.index("predict")

    def __init__(self, service: Service) -> None:
        self._rows = service.rows
        name, version = json.dumps(service.manifest.name), json.dumps(service.manifest.version)
        self._end = f'],"model":{{"name":{name},"version":{version}}}}}'.encode()

    def read(self, body: bytes, _headers: Headers) -> tuple[Rows, None]:
        """The rows under "instances", or as MLflow's clients send them."""
        return self._rows.read_any(parse_json(body)), None

    def write(self, _request: None, predictions: Sequence[Prediction]) -> tuple[HeaderList, bytes]:
        """One prediction for each row."""
        return JSON, b'{"predictions":[' + b",".join([prediction.json for prediction in predictions]) + self._end


class RecipeRoute:
    """`{"feature": [[…]]}` to a bare number, as the Flask service answered that this one replaces."""

    number = ROUTES.index("api")

    def __init__(self, service: Service) -> None:
        self._rows = service.rows

    def read(self, body: bytes, _headers: Headers) -> tuple[Rows, None]:
        """The rows under "feature"."""
        return self._rows.read(parse_json(body), "feature"), None

    def write(self, _request: None, predictions: Sequence[Prediction]) -> tuple[HeaderList, bytes]:
        """The class index (classifier), value or cluster of the first row; -1 for an outlier and 1 for another row."""
        first = predictions[0]
        if first.outputs:
            raise RequestRejected(422, "this model has several outputs for a row: use /predict")
        return JSON, b"%d" % first.class_index if first.class_index >= 0 else repr(first.value).encode()


class InferRoute:
    """The Open Inference Protocol."""

    number = ROUTES.index("infer")

    def __init__(self, service: Service) -> None:
        self._protocol = service.protocol

    def read(self, body: bytes, headers: Headers) -> tuple[Rows, InferRequest]:
        """The rows in the input tensors."""
        request = self._protocol.read(body, headers.get(_JSON_LENGTH))
        return request.rows, request

    def write(self, request: InferRequest, predictions: Sequence[Prediction]) -> tuple[HeaderList, bytes]:
        """The output tensors, as JSON or as bytes that follow the JSON."""
        content, json_length = self._protocol.write(request, predictions)
        if json_length is None:
            return JSON, content
        return [(b"content-type", b"application/octet-stream"), (_JSON_LENGTH, b"%d" % json_length)], content
