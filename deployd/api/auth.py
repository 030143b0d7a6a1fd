"""Authentication and authorisation: the sender of a request, and what they may do.

Whoever may use the daemon's Unix socket may do everything, under the name of their account. Over TCP every request needs a bearer
token, or the cookie of a browser that is logged in with one. A token has one of three roles; the config holds only its SHA-256. A
request that a token does not allow is answered 404 and says which role is needed.
"""

import asyncio
import hashlib
import hmac
import logging
import pwd
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from deployd.api.services import Given, Services
from deployd.config.daemon import Config, Token
from deployd.errors import RequestRefused, Unavailable
from deployd.http.guard import SAFE, sent_by_a_page
from deployd.http.local import local_user

Role = Literal["read", "deploy", "admin"]

_logger = logging.getLogger(__name__)

_RANK: dict[Role, int] = {"read": 0, "deploy": 1, "admin": 2}
_DOING: dict[Role, str] = {"read": "reading", "deploy": "deploying", "admin": "this"}
COOKIES = ("__Host-deployd", "deployd")  # a browser takes the first only over https
_SEEN_AGAIN = timedelta(minutes=5)
_HINT = "send Authorization: Bearer TOKEN, or set DEPLOYD_TOKEN"
_HINT_WITHOUT_TOKENS = (
    "there is none: `deployd token new NAME` makes one. "
    "On the daemon's own machine `deployd` needs none, without DEPLOYD_URL"
)


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request; `name` is recorded in the trigger of their deploys. `session` is the key of a browser's login."""

    name: str
    role: Role
    session: str | None = None

    def may(self, role: Role) -> bool:
        """Whether they may do what needs `role`."""
        return _RANK[self.role] >= _RANK[role]


def _needing(role: Role) -> Callable[[Request, Given], Awaitable[Caller]]:
    """A dependency that refuses callers whose role is below `role`."""

    async def check(request: Request, services: Given) -> Caller:
        caller = await caller_of(request.scope, services)
        if not caller.may(role):
            said = f"this token has role {caller.role}; {_DOING[role]} needs role {role}"
            raise RequestRefused(404, said, hint="deployd token new NAME --role ROLE makes another")
        return caller

    return check


READS = Depends(_needing("read"))
DEPLOYS = Depends(_needing("deploy"))
RULES = Depends(_needing("admin"))
Reader = Annotated[Caller, READS]
Deployer = Annotated[Caller, DEPLOYS]


async def caller_of(scope: Scope, services: Services) -> Caller:
    """The sender of a request. RequestRefused 401 when they are not known."""
    if (user := local_user(scope)) is not None:
        return Caller(await asyncio.to_thread(_account, user), "admin")
    config, headers = services.config, Headers(scope=scope)
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and (token := token_of(given.strip(), config)) is not None:
        return Caller(token.name, token.role)
    if not given and (caller := await _logged_in(scope["method"], headers, services)) is not None:
        return caller
    if given or "text/html" not in headers.get("accept", ""):  # a browser is led to the login
        _logger.warning("Refused a request from %s: %s", peer_of(scope, config), "wrong token" if given else "no token")
    raise RequestRefused(401, "a valid token is needed", hint=_HINT if config.auth.tokens else _HINT_WITHOUT_TOKENS)


def _account(user: int) -> str:
    """The name of a local account; `uid 1000` where it has none."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"uid {user}"


def peer_of(scope: Scope, config: Config) -> str:
    """The address of the sender: the one that a trusted proxy reports, else that of the connection."""
    address: str = (scope.get("client") or ("unknown",))[0]
    hops = Headers(scope=scope).get("x-forwarded-for", "").split(",")
    while address in config.server.trusted_proxies and hops and hops[-1].strip():
        address = hops.pop().strip()
    return address


def token_of(given: str, config: Config) -> Token | None:
    """The configured token that was sent. All are compared, so that the time taken reveals nothing."""
    digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).hexdigest()
    found = [token for token in config.auth.tokens if hmac.compare_digest(token.sha256, digest)]
    return found[0] if found else None


async def _logged_in(method: str, headers: Headers, services: Services) -> Caller | None:
    """The person logged in by a browser's cookie. A request that changes something must come from a page of ours."""
    given = cookie_of(headers)
    if given is None or (method not in SAFE and not sent_by_a_page(headers)):
        return None
    key, now = session_key(given), datetime.now(UTC)
    session = await services.store.session(key)
    token = next(
        (one for one in services.config.auth.tokens if session is not None and one.sha256 == session.token), None
    )
    if session is None or token is None or not session.lasts(now):
        return None
    if now - session.seen_at > _SEEN_AGAIN:
        with suppress(Unavailable):  # a full disk is no reason to see nothing
            await services.store.use_session(key)
    return Caller(token.name, token.role, key)


def cookie_of(headers: Headers) -> str | None:
    """The value of the login's cookie, if there is one."""
    found = cookie_parser(headers.get("cookie", ""))
    return next((found[name] for name in COOKIES if found.get(name)), None)


def session_key(given: str) -> str:
    """The key of a login in the store."""
    return hashlib.sha256(given.encode("utf-8", "surrogateescape")).hexdigest()
