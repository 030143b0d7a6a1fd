"""The FastAPI application behind the hot routes: health, provenance, the protocol's metadata, metrics, documents, try-it page.

Routes only; what they show comes from the service and its manifest.
"""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from model_service import schemas
from model_service.manifest import Manifest
from model_service.predictions import App, Predictions
from model_service.service import Service
from model_service.v2 import EXTENSIONS

# The page talks to nobody but the service that it came from.
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
_UNREADY: dict[int | str, dict[str, Any]] = {503: {"description": "Loading, or shutting down", "model": schemas.Ready}}
_UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"description": "No such model or version", "model": schemas.Error}}


def create_app(service: Service) -> App:
    """The ASGI application of one worker."""
    manifest = service.manifest
    app = FastAPI(title=f"{manifest.name} model service", version=manifest.version, description=manifest.about)
    app.add_exception_handler(HTTPException, _refused)
    _add_health(app, service)
    _add_protocol(app, service)
    _add_provenance(app, service)
    _describe_hot_routes(app, service)
    return Predictions(service, app)


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/v2/health/live", response_model=schemas.Live, tags=["health"])
    async def live() -> Response:
        """Whether the process answers at all."""
        return JSONResponse({"live": True})

    @app.get("/v2/health/ready", response_model=schemas.Ready, responses=_UNREADY, tags=["health"])
    async def ready() -> Response:
        """Whether predictions are answered: the model is loaded, and its golden rows came out right."""
        reason = service.unready
        if reason is None:
            return JSONResponse({"ready": True, "live": True})
        return JSONResponse({"ready": False, "live": True, "error": reason}, 503, {"Retry-After": "1"})


def _add_protocol(app: FastAPI, service: Service) -> None:
    manifest = service.manifest
    version = metadata.version("fastapi")

    @app.get("/v2", response_model=schemas.Server, tags=["open inference protocol"])
    @app.get("/v2/", include_in_schema=False)
    async def server() -> Response:
        """What serves, and which extensions it knows."""
        told = {"name": "model_service", "version": f"{manifest.version} (fastapi {version})", "extensions": EXTENSIONS}
        return JSONResponse(told)

    @app.get("/v2/models", response_model=schemas.Models, tags=["open inference protocol"])
    async def models() -> Response:
        """The names of all models."""
        return JSONResponse({"models": [manifest.name]})

    async def known(name: str) -> None:
        _check_known(manifest, name, manifest.version)

    async def known_version(name: str, version: str) -> None:
        _check_known(manifest, name, version)

    _add_model(app, service, "/v2/models/{name}", [Depends(known)])
    _add_model(app, service, "/v2/models/{name}/versions/{version}", [Depends(known_version)])


def _add_model(app: FastAPI, service: Service, path: str, known: Sequence[Any]) -> None:
    unready: dict[int | str, dict[str, Any]] = {
        503: {"description": "Loading, or shutting down", "model": schemas.ModelReady}
    }
    about: dict[str, Any] = {"tags": ["open inference protocol"], "dependencies": known}

    @app.get(path, response_model=schemas.ModelMetadata, responses=_UNKNOWN, **about)
    async def model() -> Response:
        """Inputs and outputs of a model."""
        return JSONResponse(service.protocol.metadata(service.commit))

    @app.get(f"{path}/ready", response_model=schemas.ModelReady, responses=_UNKNOWN | unready, **about)
    async def model_ready() -> Response:
        """Whether a model answers."""
        ready = service.unready is None
        return JSONResponse({"name": service.manifest.name, "ready": ready}, 200 if ready else 503)

    @app.post(f"{path}/infer", include_in_schema=False, dependencies=known)
    async def infer() -> Response:
        raise HTTPException(404)


def _add_provenance(app: FastAPI, service: Service) -> None:
    @app.get("/version", response_model=schemas.Version, tags=["provenance"])
    async def version() -> Response:
        """Which commit and which model answers."""
        return JSONResponse({"commit": service.commit} | service.manifest.summary())

    @app.get("/manifest", response_model=Manifest, tags=["provenance"])
    async def manifest() -> Response:
        """Everything that training recorded; where it knew no commit, the one that the image was built for."""
        told = service.manifest.model_dump()
        return JSONResponse(told | {"commit": told["commit"] or service.commit})

    @app.get("/metrics", response_class=Response, tags=["health"])
    async def metrics() -> Response:
        """Prometheus metrics of all workers."""
        return Response(service.meters.text(), media_type=CONTENT_TYPE_LATEST)

    page = Path(__file__).with_name("page.html").read_text()

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def try_it() -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": _PAGE_POLICY})


def _describe_hot_routes(app: FastAPI, service: Service) -> None:
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            document["paths"].update(schemas.hot_paths(service.manifest, service.settings, service.protocol))
        return plain()

    app.openapi = described  # type: ignore[method-assign]  # the way that FastAPI documents


def _check_known(manifest: Manifest, name: str, version: str) -> None:
    if name != manifest.name:
        raise HTTPException(404, f"there is no model {name!r:.100}; this service has {manifest.name!r}")
    if version != manifest.version:
        raise HTTPException(404, f"{name} has no version {version!r:.100}; this service has {manifest.version!r}")


async def _refused(_request: Request, failure: Exception) -> Response:
    assert isinstance(failure, HTTPException)  # noqa: S101  # it is registered for this class
    return JSONResponse({"error": failure.detail}, failure.status_code, failure.headers)
