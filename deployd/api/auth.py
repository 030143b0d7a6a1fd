"""Who sends a request, and what they may do.

Whoever may use the daemon's Unix socket may do everything, under the name of their account. Over TCP every request needs a bearer
token, which has one of three roles; the config holds only its SHA-256. A request that a token does not allow is answered 404 and
says which role is needed.
"""

import asyncio
import hashlib
import hmac
import logging
import pwd
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import Scope

from deployd.api.services import Given
from deployd.config.daemon import Config, Token
from deployd.errors import RequestRefused
from deployd.http.local import local_user

Role = Literal["read", "deploy", "admin"]

_logger = logging.getLogger(__name__)

_RANK: dict[Role, int] = {"read": 0, "deploy": 1, "admin": 2}
_DOING: dict[Role, str] = {"read": "reading", "deploy": "deploying", "admin": "this"}
_HINT = "send Authorization: Bearer TOKEN, or set DEPLOYD_TOKEN"
_HINT_WITHOUT_TOKENS = (
    "there is none: `deployd token new NAME` makes one. "
    "On the daemon's own machine `deployd` needs none, without DEPLOYD_URL"
)


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request; `name` is recorded in the trigger of their deploys."""

    name: str
    role: Role


def _needing(role: Role) -> Callable[[Request, Given], Awaitable[Caller]]:
    """A dependency that refuses callers whose role is below `role`."""

    async def check(request: Request, services: Given) -> Caller:
        caller = await _caller(request.scope, services.config)
        if _RANK[caller.role] < _RANK[role]:
            said = f"this token has role {caller.role}; {_DOING[role]} needs role {role}"
            raise RequestRefused(404, said, hint="deployd token new NAME --role ROLE makes another")
        return caller

    return check


READS = Depends(_needing("read"))
DEPLOYS = Depends(_needing("deploy"))
RULES = Depends(_needing("admin"))
Deployer = Annotated[Caller, DEPLOYS]


async def _caller(scope: Scope, config: Config) -> Caller:
    if (user := local_user(scope)) is not None:
        return Caller(await asyncio.to_thread(_account, user), "admin")
    scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and (token := _known(given.strip(), config.auth.tokens)) is not None:
        return Caller(token.name, token.role)
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


def _known(given: str, tokens: tuple[Token, ...]) -> Token | None:
    """The configured token that was sent. All are compared, so that the time taken reveals nothing."""
    digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).hexdigest()
    found = [token for token in tokens if hmac.compare_digest(token.sha256, digest)]
    return found[0] if found else None
