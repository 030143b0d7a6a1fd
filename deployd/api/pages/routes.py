"""The addresses of the pages."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response
from starlette.routing import Match

from deployd.api.auth import Caller, Reader
from deployd.api.pages import apps, deliveries, deploys, home
from deployd.api.pages.page import PageRoute, has_it, here
from deployd.api.paths import Number
from deployd.api.services import Given, Services

router = APIRouter(route_class=PageRoute, include_in_schema=False)

Before = Annotated[int | None, Query(ge=1, le=2**53)]


class FirstPage(PageRoute):
    """The first page, for browsers; a script that asks for `/` gets the version and the addresses of the API."""

    def matches(self, scope: Any) -> tuple[Match, Any]:
        """Match only requests that accept HTML."""
        accepted = next((value for name, value in scope.get("headers", ()) if name == b"accept"), b"")
        return super().matches(scope) if b"text/html" in accepted else (Match.NONE, {})


async def first_page(request: Request, services: Given, caller: Reader) -> Response:
    """All apps."""
    return await _drawn(request, services, caller, lambda: home.home(request, services, caller))


FIRST_PAGE = FirstPage("/", first_page, methods=["GET"], response_class=Response, include_in_schema=False)


@router.get("/apps/{app}", response_class=Response)
async def app_page(request: Request, app: str, services: Given, caller: Reader, before: Before = None) -> Response:
    """One app."""
    return await _drawn(request, services, caller, lambda: apps.app_page(request, services, caller, app, before))


@router.get("/apps/{app}/deploys/{number}", response_class=Response)
async def deploy_page(request: Request, app: str, number: Number, services: Given, caller: Reader) -> Response:
    """One deploy."""
    return await _drawn(request, services, caller, lambda: deploys.deploy_page(request, services, caller, app, number))


@router.get("/deliveries", response_class=Response)
async def deliveries_page(request: Request, services: Given, caller: Reader, before: Before = None) -> Response:
    """The accepted deliveries."""
    return await _drawn(
        request, services, caller, lambda: deliveries.deliveries_page(request, services, caller, before)
    )


async def _drawn(
    request: Request, services: Services, caller: Caller, draw: Callable[[], Coroutine[Any, Any, Response]]
) -> Response:
    """The page. Its live parts are the same for all of a role, and are drawn once for all who follow it."""
    if not has_it(request):
        return await draw()
    return await services.drawings.drawn((here(request), caller.role), services.events.latest, draw)
