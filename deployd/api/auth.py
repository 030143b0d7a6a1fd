"""Who sends a request, and what they may do: bearer tokens with one of three roles.

The config holds only the SHA-256 of a token. Without any tokens, only requests from this machine are served. A request that
a token does not allow is answered 404 and says which role is needed.
"""

import hashlib
import hmac
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import Scope

from deployd.api.services import Given
from deployd.config.daemon import Config, Token
from deployd.errors import RequestRefused

Role = Literal["read", "deploy", "admin"]

_logger = logging.getLogger(__name__)

_RANK: dict[Role, int] = {"read": 0, "deploy": 1, "admin": 2}
_DOING: dict[Role, str] = {"read": "reading", "deploy": "deploying", "admin": "this"}
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request; `name` is recorded in the trigger of their deploys."""

    name: str
    role: Role


def _needing(role: Role) -> Callable[[Request, Given], Awaitable[Caller]]:
    """A dependency that refuses callers whose role is below `role`."""

    async def check(request: Request, services: Given) -> Caller:
        caller = _caller(request.scope, services.config)
        if _RANK[caller.role] < _RANK[role]:
            said = f"this token has role {caller.role}; {_DOING[role]} needs role {role}"
            raise RequestRefused(404, said, hint="deployd token new NAME --role ROLE makes another")
        return caller

    return check


READS = Depends(_needing("read"))
DEPLOYS = Depends(_needing("deploy"))
RULES = Depends(_needing("admin"))
Deployer = Annotated[Caller, DEPLOYS]


def _caller(scope: Scope, config: Config) -> Caller:
    headers = Headers(scope=scope)
    if not config.auth.tokens:
        if _from_this_machine(scope, headers):
            return Caller("this machine", "admin")
        raise RequestRefused(
            401, "only requests from this machine are served", hint="configure a token: deployd token new NAME"
        )
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and (token := _known(given.strip(), config.auth.tokens)) is not None:
        return Caller(token.name, token.role)
    _logger.warning("Refused a request from %s: %s", peer_of(scope, config), "wrong token" if given else "no token")
    raise RequestRefused(401, "a valid token is needed", hint="send Authorization: Bearer TOKEN, or set DEPLOYD_TOKEN")


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


def _from_this_machine(scope: Scope, headers: Headers) -> bool:
    """Whether this machine sent the request itself, not through a proxy or tunnel, which may forward for anybody."""
    peer = scope.get("client")
    if peer is None or any(name in headers for name in _FORWARDED):
        return False
    name = headers.get("host", "").lower()
    host = name if name.endswith("]") else name.rpartition(":")[0] or name
    return host in _LOOPBACK_NAMES and _is_loopback(peer[0])


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
