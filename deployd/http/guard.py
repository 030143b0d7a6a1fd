"""Checks that every request of the API must pass first: it names a Host of ours, and no page of another site sent it.

A bare ASGI layer. An unknown Host is refused, since a foreign name that resolves to this machine (DNS rebinding) would let a
page read our answers in a browser. A request that changes something is refused when a page of another site sent it (CSRF).
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployd.config.daemon import Config
from deployd.http.problems import PROBLEM_JSON, problem

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_MAX_BODY = 64 * 1024
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_API = "/api/"
_NO_PAGE = (403, "only a page of deployd may send a form", "a script sends JSON to the API, below /api/v1")
_NO_JSON = (415, "the body must be application/json", "send Content-Type: application/json")
FORM = "application/x-www-form-urlencoded"
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # a form would send `Origin: null` without any
    (b"x-frame-options", b"DENY"),
]


class Guard:
    """Passes good requests on to `app`; `config` returns the present config."""

    def __init__(self, app: ASGIApp, config: Callable[[], Config]) -> None:
        self._app = app
        self._config = config

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if (refusal := self._refusal(scope)) is not None:
            await _answer(send, *refusal)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        await self._app(scope, _bounded(receive), send_guarded)

    def _refusal(self, scope: Scope) -> tuple[int, str, str] | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not _allowed(_host(hosts[0]), scope, self._config()):
            return 400, "this host name is not allowed", "add it to allowed_hosts in [server]"
        if scope["method"] in SAFE:
            return None
        if not self._own_page(headers, hosts[0]):
            return 403, "a page of another site may not send this request", "behind a proxy, set base_url in [server]"
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        if _size(headers) > _MAX_BODY:
            return 413, f"the body is larger than {_MAX_BODY} bytes", "no request to the API needs a body of that size"
        if kind == FORM and not scope["path"].startswith(_API):
            return None if sent_by_a_page(headers) else _NO_PAGE
        return _NO_JSON if (has_body or kind) and kind != "application/json" else None

    def _own_page(self, headers: Headers, host: str) -> bool:
        """Whether a page of ours sent it, or no page at all. Where the browser does not say so itself, the page is ours when it
        is from this Host, or from base_url when a proxy sends another Host."""
        if (site := headers.get("sec-fetch-site")) is not None:
            return site in {"none", "same-origin"}
        origin = headers.get("origin")
        ours = {host.lower(), urlsplit(self._config().server.base_url).netloc.lower()} - {""}
        return origin is None or urlsplit(origin).netloc.lower() in ours


def sent_by_a_page(headers: Headers) -> bool:
    """Whether a browser says that a page sent the request; those of other sites the guard refuses. A link, a typed address and a
    script outside of a browser do not say so."""
    return headers.get("sec-fetch-site") == "same-origin" or ("sec-fetch-site" not in headers and "origin" in headers)


def _bounded(receive: Receive) -> Receive:
    """`receive` with a limit, for a body without Content-Length."""
    size = 0

    async def bounded() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > _MAX_BODY:
            raise HTTPException(413, f"the body is larger than {_MAX_BODY} bytes")
        return message

    return bounded


def _size(headers: Headers) -> int:
    said = headers.get("content-length", "0")
    return int(said) if said.isascii() and said.isdecimal() and len(said) < 20 else _MAX_BODY + 1


def _host(value: str) -> str:
    """The name in a Host header, without the port; "" when it is malformed."""
    name, _, port = value.rpartition(":") if ":" in value and not value.endswith("]") else (value, "", "")
    name = name.lower()
    bracketed = name.startswith("[") and name.endswith("]")
    inner = name[1:-1] if bracketed else name
    allowed = "0123456789abcdefghijklmnopqrstuvwxyz.-_" + (":" if bracketed else "")
    well_formed = inner and all(sign in allowed for sign in inner) and (not port or port.isdecimal())
    return name if well_formed else ""


def _allowed(host: str, scope: Scope, config: Config) -> bool:
    if not host:
        return False
    arrived_at = (scope.get("server") or ("",))[0]
    names = {*_LOOPBACK_NAMES, *(name.lower() for name in config.server.allowed_hosts)}
    names |= {arrived_at, f"[{arrived_at}]", urlsplit(config.server.base_url).hostname or ""}
    return host in names or "*" in names or any(name[:2] == "*." and host.endswith(name[1:]) for name in names)


async def _answer(send: Send, status: int, detail: str, hint: str) -> None:
    body = problem(status, detail, hint)
    headers = [(b"content-type", PROBLEM_JSON), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
