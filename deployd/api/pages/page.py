"""Pages: each is a list of parts, every part with its own template, in one layout.

A browser that follows a page holds one stream of events. When something has changed, it asks for the same address once more, and
gets the live parts only, which are merged into the page. So a page needs no route but its own, and a part no script.
"""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import quote, urlencode

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from deployd.act import told
from deployd.api.auth import Caller, caller_of
from deployd.api.pages import bars, plots, words
from deployd.api.pages.files import address
from deployd.api.services import Services
from deployd.errors import DeploydError, RequestRefused, Unavailable

_POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
# Messages after a button whose outcome the page does not show.
_NOTES = {
    "scaled": "The number of pods was changed.",
    "redelivered": "The delivery is processed again: deployd looks at the remote.",
}
_HEADERS = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a page: the template `templates/<name>.html`.

    `live`: drawn anew when something has changed. Any other part is managed by its `script`, a module among the static files, and
    must not be replaced.
    """

    name: str
    live: bool = True
    script: str | None = None

    @property
    def id(self) -> str:
        """The id of its element in the page."""
        return self.name.replace("/", "-")


@dataclass(frozen=True, slots=True)
class Page:
    """One kind of page. `parts` in the order in which they are on it."""

    parts: Sequence[Part]

    def drawn(
        self, request: Request, services: Services, caller: Caller, head: "Head", facts: dict[str, Any]
    ) -> Response:
        """The whole page, or the live parts of it for a browser that has it. `facts` are what the parts show."""
        template = "live.html" if has_it(request) else "layout.html"
        shown = facts | {
            "head": head,
            "caller": caller,
            "parts": self.parts,
            "scripts": sorted({part.script for part in self.parts if part.script}),
            "here": here(request),
            "seen": services.events.latest,
            "now": datetime.now(UTC),
            "note": _NOTES.get(request.query_params.get("done", "")),
        }
        return Response(_environment().get_template(template).render(shown), media_type="text/html", headers=_HEADERS)


@dataclass(frozen=True, slots=True)
class Head:
    """The head of the page: `title` and, by `tone`, the icon. `follows`: the query of the event stream."""

    title: str
    tone: str = "idle"
    follows: str = ""


def has_it(request: Request) -> bool:
    """Whether a browser has the page already, and asks for its live parts."""
    return request.headers.get("hx-request") == "true"


def plain_page(template: str, status: int = 200, **facts: Any) -> Response:
    """A page without parts or events: the login, an error."""
    shown = {"now": datetime.now(UTC), "caller": None, **facts}
    return Response(
        _environment().get_template(template).render(shown), status, media_type="text/html", headers=_HEADERS
    )


class PageRoute(APIRoute):
    """A route whose answers are for a person: an error is a page too, and who is not known is led to the login."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As documented by FastAPI for routes that handle their own errors."""
        answer = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await answer(request)
            except RequestRefused as exc:
                return _to_login(request) if exc.status == 401 else await error_page(request, exc.status, exc)
            except DeploydError as exc:
                return await error_page(request, 503 if isinstance(exc, Unavailable) else 409, exc)
            except RequestValidationError:
                what = RequestRefused(404, "there is no such page", hint="the address may be cut or mistyped")
                return await error_page(request, 404, what)

        return handled


async def error_page(request: Request, status: int, exc: DeploydError) -> Response:
    """The page for an error: what went wrong, and what a person can do."""
    services: Services = request.app.state.services
    try:
        caller = await caller_of(request.scope, services)
    except DeploydError:
        caller = None
    app = request.path_params.get("app")
    back = f"/apps/{quote(app)}" if app is not None and (status != 404 or request.method == "POST") else None
    return plain_page("error.html", status, caller=caller, missing=status == 404, error=exc, back=back)


def _to_login(request: Request) -> Response:
    """Lead to the login. A link on another site is followed without the cookie (SameSite=Strict); the same page, asked for by a
    page of ours, brings it."""
    if request.method != "GET":
        return RedirectResponse("/login", 303)
    if "hx-request" in request.headers:
        return Response(status_code=401)
    onward = here(request)
    if request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}:
        return plain_page("onward.html", to=onward)
    return RedirectResponse("/login" + (f"?{urlencode({'next': onward})}" if onward != "/" else ""), 303)


def here(request: Request) -> str:
    """The path of the page with its query."""
    path = quote(request.url.path)
    return f"{path}?{request.url.query}" if request.url.query else path


@cache
def _environment() -> Environment:
    """The templates and their helper functions. Made when the first page is drawn, as many daemons never draw one."""
    made = Environment(
        loader=PackageLoader("deployd.api.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"static": address, "bars": bars, "plots": plots, "words": words, "act_told": told}
    made.filters |= words.FILTERS
    return made
