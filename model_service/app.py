"""The FastAPI application: health, provenance, metadata of the Open Inference Protocol, metrics.

Routes only: what they show comes from the service and its manifest. `predictions.py` answers the prediction routes.
"""

from collections.abc import Sequence
from importlib.metadata import version as version_of
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

from model_service import schemas
from model_service.manifest import Manifest
from model_service.open_inference import EXTENSIONS
from model_service.pages import add_pages
from model_service.predictions import App, Predictions
from model_service.service import Service

_LOADING = "The model is loading, or the service is shutting down"
_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"description": _LOADING, "model": schemas.Ready}}
_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "No such model or version", "model": schemas.Error}}


def create_app(service: Service) -> App:
    """The ASGI application of one worker."""
    manifest = service.manifest
    app = FastAPI(
        title=f"{manifest.name} model service",
        version=manifest.version,
        description=manifest.about,
        root_path=service.settings.root_path,
        docs_url=None,
        redoc_url=None,
    )
    app.add_exception_handler(HTTPException, _answer_http_exception)
    _add_health(app, service)
    _add_protocol(app, service)
    _add_provenance(app, service)
    add_pages(app)
    _describe_prediction_routes(app, service)
    answering = Predictions(service, GZipMiddleware(app, minimum_size=1024))
    if not service.settings.cors:
        return answering
    return CORSMiddleware(
        answering,
        allow_origins=list(service.settings.cors),
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=[
            "Inference-Header-Content-Length",
            "Retry-After",
            "X-Request-ID",
        ],  # else pages cannot read them
    )


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/v2/health/live", response_model=schemas.Live, tags=["health"])
    async def live() -> Response:
        """Whether the process answers at all."""
        return JSONResponse({"live": True})

    @app.get("/v2/health/ready", response_model=schemas.Ready, responses=_NOT_READY, tags=["health"])
    async def ready() -> Response:
        """Whether the service predicts: the model is loaded and has passed its golden cases."""
        reason = service.why_not_ready
        if reason is None:
            return JSONResponse({"ready": True, "live": True})
        return JSONResponse({"ready": False, "live": True, "error": reason}, 503, {"Retry-After": "1"})


def _add_protocol(app: FastAPI, service: Service) -> None:
    manifest = service.manifest
    version = version_of("fastapi")

    @app.get("/v2", response_model=schemas.ServerMetadata, tags=["open inference protocol"])
    @app.get("/v2/", include_in_schema=False)
    async def server() -> Response:
        """The server, and the extensions that it supports."""
        metadata = {
            "name": "model_service",
            "version": f"{manifest.version} (fastapi {version})",
            "extensions": EXTENSIONS,
        }
        return JSONResponse(metadata)

    @app.get("/v2/models", response_model=schemas.Models, tags=["open inference protocol"])
    async def models() -> Response:
        """The names of the models."""
        return JSONResponse({"models": [manifest.name]})

    @app.post("/v2/repository/index", response_model=list[schemas.Indexed], tags=["open inference protocol"])
    async def index() -> Response:
        """The models, as Triton's clients ask for them."""
        reason = service.why_not_ready
        state = "READY" if reason is None else "UNAVAILABLE"
        described = {"name": manifest.name, "version": manifest.version, "state": state, "reason": reason or ""}
        return JSONResponse([described])

    @app.get("/v2/models/stats", response_model=schemas.Statistics, tags=["open inference protocol"])
    async def all_statistics() -> Response:
        """How many requests were answered, as Triton's clients ask for it."""
        return JSONResponse(service.metrics.statistics())

    async def check_name(name: str) -> None:
        _check_known(manifest, name, manifest.version)

    async def check_name_and_version(name: str, version: str) -> None:
        _check_known(manifest, name, version)

    _add_model(app, service, "/v2/models/{name}", [Depends(check_name)])
    _add_model(app, service, "/v2/models/{name}/versions/{version}", [Depends(check_name_and_version)])


def _add_model(app: FastAPI, service: Service, path: str, checks: Sequence[Any]) -> None:
    not_ready: dict[int | str, dict[str, Any]] = {503: {"description": _LOADING, "model": schemas.ModelReady}}
    common: dict[str, Any] = {"tags": ["open inference protocol"], "dependencies": checks}

    @app.get(path, response_model=schemas.ModelMetadata, responses=_UNKNOWN, **common)
    async def model() -> Response:
        """The inputs and outputs of a model."""
        return JSONResponse(service.protocol.metadata(service.commit))

    @app.get(f"{path}/config", response_model=dict[str, Any], responses=_UNKNOWN, **common)
    async def configuration() -> Response:
        """The inputs and outputs of a model, as Triton's clients read them."""
        return JSONResponse(service.protocol.configuration())

    @app.get(f"{path}/stats", response_model=schemas.Statistics, responses=_UNKNOWN, **common)
    async def statistics() -> Response:
        """How many requests were answered, as Triton's clients ask for it."""
        return JSONResponse(service.metrics.statistics())

    @app.get(f"{path}/ready", response_model=schemas.ModelReady, responses=_UNKNOWN | not_ready, **common)
    async def model_ready() -> Response:
        """Whether the service predicts with a model."""
        ready = service.why_not_ready is None
        return JSONResponse({"name": service.manifest.name, "ready": ready}, 200 if ready else 503)

    @app.post(f"{path}/infer", include_in_schema=False, dependencies=checks)
    async def infer() -> Response:
        raise HTTPException(404)  # the checks refuse unknown models, and for the known one this is a prediction route


def _add_provenance(app: FastAPI, service: Service) -> None:
    @app.get("/version", response_model=schemas.Version, tags=["provenance"])
    async def version() -> Response:
        """The commit and the model that are served."""
        return JSONResponse({"commit": service.commit} | service.manifest.summary())

    @app.get("/manifest", response_model=Manifest, tags=["provenance"])
    async def manifest() -> Response:
        """All that training recorded. If it knew no commit, the commit is the one that the image was built for."""
        recorded = service.manifest.model_dump()
        return JSONResponse(recorded | {"commit": recorded["commit"] or service.commit})

    @app.get("/MODEL.md", response_class=Response, tags=["provenance"])
    async def card() -> Response:
        """The model card, with the commit that the image was built for if training did not know it."""
        return Response(service.card(), media_type="text/markdown")

    @app.get("/examples", response_model=schemas.Examples, tags=["provenance"])
    async def examples() -> Response:
        """Some rows of the data that were held back from training, as /predict takes them."""
        return JSONResponse({"instances": service.examples})

    @app.get("/metrics", response_class=Response, tags=["health"])
    async def metrics() -> Response:
        """Prometheus metrics of all workers."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _describe_prediction_routes(app: FastAPI, service: Service) -> None:
    make_document = app.openapi

    def make_whole_document() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = make_document()
            document["paths"].update(schemas.prediction_paths(service.manifest, service.settings, service.protocol))
        return make_document()

    app.openapi = make_whole_document  # type: ignore[method-assign]  # as FastAPI's documentation says


def _check_known(manifest: Manifest, name: str, version: str) -> None:
    if name != manifest.name:
        raise HTTPException(404, f"there is no model {name!r:.100}; this service has {manifest.name!r}")
    if version != manifest.version:
        raise HTTPException(404, f"{name} has no version {version!r:.100}; this service has {manifest.version!r}")


async def _answer_http_exception(_request: Request, failure: Exception) -> Response:
    assert isinstance(failure, HTTPException)  # noqa: S101  # it is registered for this class
    return JSONResponse({"error": failure.detail}, failure.status_code, failure.headers)
