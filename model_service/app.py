"""The FastAPI application behind the hot routes: health, version, metadata, metrics, documents; and the whole as one app.

Routes only; what they show comes from the service and its manifest.
"""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from model_service.front import App, Front
from model_service.service import Service


def create_app(service: Service) -> App:
    """The ASGI application of one worker."""
    app = FastAPI(title=f"{service.manifest.name} model service", version=service.manifest.version)
    app.add_exception_handler(HTTPException, _rejected)
    _add_health(app, service)
    _add_provenance(app, service)
    return Front(service, app)


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/v2/health/live")
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready")
    async def ready() -> Response:
        reason = service.unready
        if reason is None:
            return JSONResponse({"ready": True, "live": True})
        return JSONResponse({"ready": False, "live": True, "error": reason}, 503, {"Retry-After": "1"})


def _add_provenance(app: FastAPI, service: Service) -> None:
    @app.get("/version")
    async def version() -> dict[str, Any]:
        return {"commit": service.commit} | service.manifest.summary()

    @app.get("/manifest")
    async def manifest() -> dict[str, Any]:
        return service.manifest.model_dump()

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse("")


async def _rejected(_request: Request, failure: Exception) -> Response:
    assert isinstance(failure, HTTPException)  # noqa: S101  # it is registered for this class
    return JSONResponse({"error": failure.detail}, failure.status_code, failure.headers)
