"""The HTTP application: webhooks go to their door, everything else through the guard to the API.

Every error is answered as a problem (RFC 9457).
"""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from deployd.api import commands, deliveries, deploys, events, logs, ops, traffic
from deployd.api.pages import buttons, files, login, routes
from deployd.api.pages.page import error_page
from deployd.api.services import Services
from deployd.config.faults import words
from deployd.errors import ConfigError, DeploydError, RequestRefused, Unavailable
from deployd.http.guard import Guard
from deployd.http.problems import PROBLEM_JSON, problem

# The hints for errors that have none of their own.
_HINTS = {
    400: "the body must be JSON",
    404: "the API is below /api/v1: GET /api/v1/apps shows the apps",
    405: "the Allow header lists the methods that this address takes",
    413: "no request to the API needs a body of that size",
    422: "correct the values that the detail names",
    503: "try again in a moment; GET /readyz says which part is unavailable",
}


def create_app(services: Services, doors: Mapping[str, ASGIApp]) -> ASGIApp:
    """Everything that deployd serves. `doors` maps each webhook path to its door, in lower case; slashes and capital letters make
    no difference. A delivery to another path is told the right one.

    No lifespan is needed.
    """
    guarded = Guard(create_api(services), lambda: services.config)
    ours = [path for path in doors if path.startswith("/webhooks/")]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        door = doors.get(_plain(scope["path"])) if scope["type"] == "http" else None
        if door is None and scope["type"] == "http" and _is_delivery(scope):
            hint = f"this looks like a webhook's delivery; its address ends with {' or '.join(ours)}"
            door = _answer(404, f"there is nothing at {scope['path']}", hint)
        await (door or guarded)(scope, receive, send)

    return app


def _plain(path: str) -> str:
    """The path of a webhook as it is meant: in lower case, without empty parts and without a slash at the end."""
    return "/" + "/".join(part for part in path.lower().split("/") if part)


def _is_delivery(scope: Scope) -> bool:
    """Whether a forge sent it, as far as its headers say: each sends the name of the event."""
    return scope["method"] == "POST" and any(
        name.endswith((b"-event", b"-event-key")) and name[:2] == b"x-" for name, _ in scope["headers"]
    )


def create_api(services: Services) -> FastAPI:
    """The API without guard and webhooks, for example to print its OpenAPI description."""
    api = FastAPI(title="deployd", docs_url=None, redoc_url=None, openapi_url=None)
    api.state.services = services
    # The routes themselves, not `include_router`: it would analyse each anew.
    for page in (files, login, routes, buttons):  # before the API, since a browser gets a page at `/`
        api.router.routes.extend(page.router.routes)
    api.router.routes.append(routes.FIRST_PAGE)
    for part in (ops, deploys, deliveries, logs, events, commands, traffic):
        api.router.routes.extend(part.router.routes)
    api.exception_handler(DeploydError)(_expected)
    api.exception_handler(HTTPException)(_http)
    api.exception_handler(RequestValidationError)(_invalid)
    api.exception_handler(Exception)(_bug)
    return api


async def _expected(request: Request, exc: DeploydError) -> Response:
    del request
    if isinstance(exc, RequestRefused):
        headers = {"WWW-Authenticate": "Bearer"} if exc.status == 401 else {}
        return _answer(exc.status, exc.message, exc.hint, headers)
    if isinstance(exc, Unavailable):
        return _answer(503, exc.message, exc.hint, {"Retry-After": "5"})
    return _answer(422 if isinstance(exc, ConfigError) else 409, exc.message, exc.hint)


async def _http(request: Request, exc: HTTPException) -> Response:
    detail = (
        exc.detail
        if exc.detail != HTTPStatus(exc.status_code).phrase
        else f"there is nothing at this address for {request.method}"
    )
    browser = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/")
    if exc.status_code == 404 and browser:
        return await error_page(request, 404, RequestRefused(404, "there is no such page"))
    return _answer(exc.status_code, detail, headers=dict(exc.headers or {}))


async def _invalid(request: Request, exc: RequestValidationError) -> Response:
    del request
    faults = [
        f"{'.'.join(map(str, fault['loc'])).removeprefix('body.')}: {words(fault['type'], fault.get('ctx', {}), fault['msg'])}"
        for fault in exc.errors()
    ]
    return _answer(422, "; ".join(faults))


async def _bug(request: Request, exc: Exception) -> Response:
    del request, exc
    return _answer(500, "a bug in deployd", "the daemon's log has the traceback")


def _answer(status: int, detail: str, hint: str = "", headers: dict[str, str] | None = None) -> Response:
    return Response(problem(status, detail, hint or _HINTS.get(status, "")), status, headers, PROBLEM_JSON.decode())
