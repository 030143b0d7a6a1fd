"""Checks whether a release is ready and reports the right commit. Used by the ready gate and the targets.

Knows HTTP and an app's [app.ready]; nothing of containers or deploys. The user's proxy settings are never used.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import httpx

from deployd.config.app import App, Ready
from deployd.errors import RolloutFailed

_ONE_TRY_SECONDS = 5.0
_SHORTEST_PAUSE_SECONDS = 0.01
_SHARE_OF_THE_WAIT = 0.1
_LONGEST_ANSWER = 200
_LONGEST_PROVENANCE = 64 * 1024


def headers_of(app: App, *, secure: bool) -> dict[str, str]:
    """The headers with which a release is asked: what the gateway would send for a client of the app, then `[app.ready]`.

    `secure`: the gateway ends TLS for the apps with host names.
    """
    names = [host for host in app.gateway.hosts if not host.startswith("*")]
    found = {"Host": names[0]} if names and app.target == "docker" else {}
    found["X-Forwarded-Proto"] = "https" if secure and app.gateway.hosts else "http"
    if app.ready.host is not None:
        found["Host"] = app.ready.host
    return found | app.ready.headers


def client(address: str, headers: Mapping[str, str]) -> httpx.AsyncClient:
    """An HTTP client for one release."""
    # Releases use plain HTTP. By default, httpx would load all CA certificates, which takes 25 ms.
    return httpx.AsyncClient(
        base_url=address,
        headers=headers,
        trust_env=False,
        timeout=_ONE_TRY_SECONDS,
        follow_redirects=False,
        verify=address.startswith("https:"),
    )


async def until_ready(address: str, ready: Ready, commit: str | None, headers: Mapping[str, str]) -> float:
    """Ask until the answer is 2xx and, where the app has a `commit_path`, the commit is right. The seconds that this took.

    It is asked often at first, then every `ready.every`: see `pause`.

    RolloutFailed with the last answer after `ready.within`, and at once when another commit answers. Without `commit`, any
    commit is accepted.
    """
    began, last = time.monotonic(), "no answer"
    asks: list[tuple[str, str | None]] = [(ready.path, None)]
    if ready.commit_path is not None and commit is not None:
        asks.append((ready.commit_path, commit))
    async with client(address, headers) as http:
        try:
            async with asyncio.timeout(ready.within):
                for path, expected in asks:
                    while refusal := await _refusal(http, path, expected):
                        last = refusal
                        await asyncio.sleep(pause(time.monotonic() - began, ready.every))
        except TimeoutError as exc:
            raise RolloutFailed(f"not ready within {ready.within:g} s: {last}") from exc
    return time.monotonic() - began


def pause(waited: float, every: float) -> float:
    """Seconds until the next request when the first was `waited` seconds ago: a tenth of that, so that readiness is noticed at
    most a tenth too late; at least 10 ms, at most `every`."""
    return min(max(waited * _SHARE_OF_THE_WAIT, _SHORTEST_PAUSE_SECONDS), every)


async def refusal(address: str, ready: Ready, headers: Mapping[str, str]) -> str:
    """Why a release does not answer its ready path now; empty when it does. Asked once."""
    async with client(address, headers) as http:
        return await _refusal(http, ready.path) or ""


async def provenance(address: str, ready: Ready, headers: Mapping[str, str]) -> dict[str, Any]:
    """The JSON object that a ready release answers at its `commit_path`; empty when that is something else or too large."""
    if ready.commit_path is None:
        return {}
    try:
        async with client(address, headers) as http:
            answer = await http.get(ready.commit_path)
            said = answer.json() if len(answer.content) <= _LONGEST_PROVENANCE else None
    except (httpx.HTTPError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def said_commit(body: str) -> str:
    """The commit in the answer to a commit path: a JSON object with "commit", or plain text."""
    try:
        data = json.loads(body)
    except ValueError:
        return body.strip()
    return str(data.get("commit", "")) if isinstance(data, dict) else str(data)


async def _refusal(http: httpx.AsyncClient, path: str, commit: str | None = None) -> str | None:
    """The reason why the release is not ready; None when it is. RolloutFailed when it reports another commit than `commit`."""
    try:
        answer = await http.get(path)
    except httpx.ConnectError:
        return f"{path}: connection refused"
    except httpx.TimeoutException:
        return f"{path}: no answer in {_ONE_TRY_SECONDS:g} s"
    except httpx.HTTPError as exc:
        return f"{path}: {str(exc) or type(exc).__name__}"
    if answer.has_redirect_location:
        return _redirected(path, answer, http.headers.get("X-Forwarded-Proto"))
    if not answer.is_success:
        return f"{path}: {answer.status_code}: {answer.text[:_LONGEST_ANSWER]}".rstrip(": \n")
    if commit is not None and (said := said_commit(answer.text)) != commit:
        raise RolloutFailed(
            f"{path} says commit {said[:_LONGEST_ANSWER] or '(none)'}, expected {commit}",
            hint="the image must report the commit that it was built from; deployd passes it as build arg COMMIT",
        )
    return None


def _redirected(path: str, answer: httpx.Response, scheme: str | None) -> str:
    where = answer.headers["location"][:_LONGEST_ANSWER]
    wants_https = where.startswith("https:") and scheme != "https"
    how = (
        '; headers = { X-Forwarded-Proto = "https" } in [app.ready] says that clients use https' if wants_https else ""
    )
    return f"{path}: {answer.status_code}: redirects to {where}{how}"
