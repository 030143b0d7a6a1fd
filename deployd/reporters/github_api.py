"""The one door to GitHub's API for reports: authentication, the pace of what is written, redirects, and errors in our words."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import httpx
import msgspec

from deployd.errors import Unavailable
from deployd.reporters.limits import fault_of, masked
from deployd.reporters.reporter import Refused
from deployd.wording import plain

T = TypeVar("T")

_TIMEOUT_SECONDS = 20.0
_MOST_REDIRECTS = 3
_PACE_SECONDS = 1.0  # GitHub asks for a second between requests that write
_REDIRECTS = frozenset({301, 302, 307, 308})
HEADERS = {
    "Accept": "application/vnd.github+json",
    "X-GitHub-Api-Version": "2022-11-28",
    "User-Agent": "deployd",
}


class Tokens(Protocol):
    """Gives the token for a repository, `owner/name`. `forget` is told that GitHub refuses one; True if another may be tried."""

    async def token(self, repository: str) -> str: ...
    def forget(self, repository: str) -> bool: ...


class PersonalToken:
    """One token for every repository."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def token(self, repository: str) -> str:
        """See Tokens."""
        del repository
        return self._token

    def forget(self, repository: str) -> bool:
        """See Tokens."""
        del repository
        return False


class Wire:
    """Sends requests to one GitHub, below its `api_url`; `pace`: the seconds between two that write."""

    def __init__(self, api_url: str, *, pace: float = _PACE_SECONDS) -> None:
        secure = api_url.startswith("https:")  # else no certificates are loaded, which takes 25 ms
        self.base = httpx.URL(api_url.rstrip("/"))
        self._http = httpx.AsyncClient(headers=HEADERS, timeout=_TIMEOUT_SECONDS, verify=secure)
        self._pace = pace
        self._wrote_at = float("-inf")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def send(
        self, method: str, path: str, token: str, body: Any = None, asked: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """One request. It goes where GitHub redirects it, as for a renamed repository, but never to another host."""
        if method != "GET":
            await asyncio.sleep(self._wrote_at + self._pace - time.monotonic())
        url = httpx.URL(f"{self.base}{path}", params=asked) if asked else httpx.URL(f"{self.base}{path}")
        headers = {"Authorization": f"Bearer {token}"}
        try:
            for _ in range(_MOST_REDIRECTS + 1):
                response = await self._http.request(method, url, json=body, headers=headers)
                if response.status_code not in _REDIRECTS:
                    return response
                url = url.join(response.headers.get("location", ""))
                if (url.scheme, url.host, url.port) != (self.base.scheme, self.base.host, self.base.port):
                    raise Refused(f"GitHub redirects {method} {path} to another host, {url.host}: not followed")
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            said = masked(str(exc)) or type(exc).__name__
            raise Unavailable(f"GitHub at {self.base} does not answer: {said}") from exc
        finally:
            if method != "GET":
                self._wrote_at = time.monotonic()
        raise Refused(f"GitHub redirects {method} {path} again and again", forever=True)


class GitHubApi:
    """Requests in the name of a token. Raises Later, Refused or Unavailable."""

    def __init__(self, wire: Wire, tokens: Tokens) -> None:
        self._wire = wire
        self._tokens = tokens

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.close()

    async def ask(
        self,
        kind: type[T],
        method: str,
        repository: str,
        path: str,
        body: Any = None,
        asked: Mapping[str, str] | None = None,
    ) -> T:
        """The answer of GitHub to a request about a repository, as a `kind`; `path` is what follows `/repos/OWNER/NAME`."""
        full = f"/repos/{repository}{path}"
        response = await self._wire.send(method, full, await self._tokens.token(repository), body, asked)
        if response.status_code == 401 and self._tokens.forget(repository):
            response = await self._wire.send(method, full, await self._tokens.token(repository), body, asked)
        return answer_of(kind, response, f"{method} {full}")


def answer_of(kind: type[T], response: httpx.Response, asked: str) -> T:
    """The JSON of an answer as a `kind`. Raises Later or Refused where it is an error."""
    try:
        said = response.json() if response.content else None
    except ValueError:
        said = None
    message = str(said.get("message", "")) if isinstance(said, dict) else ""
    if isinstance(said, dict) and response.status_code == 422:
        message = f"{message} {said.get('errors') or ''}".strip()
    if (fault := fault_of(response.status_code, response.headers, message, asked)) is not None:
        raise fault
    try:
        return msgspec.convert(said, kind)
    except msgspec.ValidationError as exc:
        what = f"the answer to {asked} is not from GitHub: {plain(exc)}"
        raise Unavailable(what, hint="see [github] api_url") from exc
