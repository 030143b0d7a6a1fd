"""Tokens of a GitHub App: short-lived, each for one repository and for no more than reports need.

A token of the App itself (a JWT) is signed with its key; by that the installation is found and a token of it taken.
"""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from deployd.errors import ConfigError
from deployd.reporters.github_api import Wire, answer_of
from deployd.reporters.reporter import Refused

_JWT_SECONDS = 540  # GitHub takes at most ten minutes
_CLOCKS_DIFFER_SECONDS = 60
_EARLY_SECONDS = 600.0


class _Installation(Struct):
    id: int


class _Taken(Struct):
    token: str
    expires_at: datetime


class _Token(NamedTuple):
    token: str
    until: float


class AppTokens:
    """Implements Tokens. `permissions`: what its tokens may do, such as {"deployments": "write"}."""

    def __init__(
        self, wire: Wire, app: str, key: str, installation: int | None, permissions: Mapping[str, str]
    ) -> None:
        """Raises ConfigError when the key is none."""
        self._wire = wire
        self._app = app
        self._key = key.replace("\\n", "\n")  # as an environment file has it
        self._permissions = permissions
        self._installation = installation
        self._installations: dict[str, int] = {}  # by owner
        self._tokens: dict[str, _Token] = {}  # by repository
        self._signed()

    async def token(self, repository: str) -> str:
        """See Tokens."""
        known = self._tokens.get(repository)
        if known is None or time.time() > known.until - _EARLY_SECONDS:
            known = self._tokens[repository] = await self._take(repository)
        return known.token

    def forget(self, repository: str) -> bool:
        """See Tokens."""
        return self._tokens.pop(repository, None) is not None

    async def _take(self, repository: str) -> _Token:
        owner, _, name = repository.partition("/")
        number = self._installation or self._installations.get(owner) or await self._find(owner, repository)
        path = f"/app/installations/{number}/access_tokens"
        body = {"repositories": [name], "permissions": self._permissions}
        response = await self._wire.send("POST", path, self._signed(), body)
        try:
            taken = answer_of(_Taken, response, f"POST {path}")
        except Refused as exc:
            self._installations.pop(owner, None)
            rights = ", ".join(f"{name} ({right})" for name, right in self._permissions.items())
            hint = (
                exc.hint
                if exc.everything
                else f"the App must be installed on {repository}, with the permissions {rights}"
            )
            raise Refused(exc.message, hint=hint, everything=exc.everything) from exc
        return _Token(taken.token, taken.expires_at.timestamp())

    async def _find(self, owner: str, repository: str) -> int:
        path = f"/repos/{repository}/installation"
        response = await self._wire.send("GET", path, self._signed())
        try:
            found = answer_of(_Installation, response, f"GET {path}")
        except Refused as exc:
            hint = f"install the App on {repository}"
            if exc.everything:
                hint = "[github.app] id and key must be of the same App, and the clock of this machine right"
            raise Refused(exc.message, hint=hint, everything=exc.everything) from exc
        self._installations[owner] = found.id
        return found.id

    def _signed(self) -> str:
        """The token of the App itself."""
        import jwt  # noqa: PLC0415 - with its cryptography large, and only needed with an App

        now = int(time.time())
        claims = {"iat": now - _CLOCKS_DIFFER_SECONDS, "exp": now + _JWT_SECONDS, "iss": self._app}
        try:
            return jwt.encode(claims, self._key, algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError) as exc:
            hint = "the file that GitHub gave for the App: it begins with -----BEGIN RSA PRIVATE KEY-----"
            raise ConfigError("github.app.key: it is not a private key for RS256", hint=hint) from exc
