"""Login by token, and logout. The cookie holds a random key of a session in the store, so that a logout ends it."""

import logging
import secrets
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from deployd.api.auth import COOKIES, caller_of, cookie_of, peer_of, session_key, token_of
from deployd.api.pages.page import PageRoute, plain_page
from deployd.api.services import Given, Services
from deployd.config.daemon import Config
from deployd.errors import RequestRefused
from deployd.http.guard import FORM
from deployd.session import WHOLE

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_SAFE_NAME, _PLAIN_NAME = COOKIES
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_MOST_FIELDS = 20

logger = logging.getLogger(__name__)


@router.get("/login", response_class=Response)
async def ask(request: Request, services: Given, next: str = "/") -> Response:  # noqa: A002 - the parameter's name in the address
    """The form; a person who is already logged in is redirected."""
    try:
        await caller_of(request.scope, services)
    except RequestRefused:
        return _form(request, services, local(next))
    return RedirectResponse(local(next), 303)


@router.post("/login", response_class=Response)
async def login(request: Request, services: Given) -> Response:
    """Log in. Every failure gets the same words."""
    given = await fields(request)
    onward, peer = local(given.get("next", "/")), peer_of(request.scope, services.config)
    if (wait := services.logins.wait(peer)) > 0:
        said = f"There were too many wrong tokens. Try again in {max(round(wait), 1)} s."
        return _form(request, services, onward, said, status=429, headers={"Retry-After": str(max(round(wait), 1))})
    token = token_of(given.get("token", "").strip(), services.config)
    if token is None:
        services.logins.failed(peer)
        logger.warning("Refused a login from %s: wrong token", peer)
        return _form(request, services, onward, "This is not a token of deployd.", status=401)
    services.logins.passed(peer)
    name = secrets.token_urlsafe(32)
    await _end(request, services)
    await services.store.begin_session(session_key(name), token.sha256)
    logger.info("%s logged in from %s", token.name, peer)
    answer = RedirectResponse(onward, 303)
    safe = _encrypted(request, services.config)
    answer.set_cookie(
        _SAFE_NAME if safe else _PLAIN_NAME,
        name,
        max_age=int(WHOLE.total_seconds()),
        path="/",
        secure=safe,
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/logout", response_class=Response)
async def logout(request: Request, services: Given) -> Response:
    """Forget the login, here and in the browser."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise RequestRefused(415, "a logout is sent by the button of a page")
    await _end(request, services)
    answer = RedirectResponse("/login", 303)
    for name in COOKIES:
        answer.delete_cookie(name, path="/", secure=name == _SAFE_NAME, httponly=True, samesite="strict")
    return answer


async def fields(request: Request) -> dict[str, str]:
    """The fields of a form. The guard has already refused forms from other sites."""
    body = (await request.body()).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(body, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as exc:
        raise RequestRefused(400, "the form has too many fields") from exc


def local(path: str) -> str:
    """`path` when it leads to a page of ours, else the first page."""
    parts = urlsplit(path)
    ours = (
        path.startswith("/")
        and not path.startswith("//")
        and "\\" not in path
        and not parts.scheme
        and not parts.netloc
    )
    return path if ours and path.isprintable() and path.isascii() and parts.path not in {"/login", "/logout"} else "/"


async def _end(request: Request, services: Services) -> None:
    if (former := cookie_of(request.headers)) is not None:
        await services.store.end_session(session_key(former))


def _form(
    request: Request, services: Services, onward: str, wrong: str = "", *, status: int = 200, headers: Any = None
) -> Response:
    config = services.config
    safe = _encrypted(request, config) or request.url.hostname in _LOOPBACK
    page = plain_page("login.html", status, tokens=bool(config.auth.tokens), encrypted=safe, wrong=wrong, next=onward)
    page.headers.update(headers or {})
    return page


def _encrypted(request: Request, config: Config) -> bool:
    """Whether the browser came by https, as its page says, or as deployd or its proxy knows."""
    if (origin := request.headers.get("origin", "")).startswith(("http:", "https:")):
        return origin.startswith("https:")
    by_proxy = request.headers.get("x-forwarded-proto", "") if _by_proxy(request, config) else ""
    return "https" in {request.url.scheme, by_proxy, urlsplit(config.server.base_url).scheme}


def _by_proxy(request: Request, config: Config) -> bool:
    return request.client is not None and request.client.host in config.server.trusted_proxies
