"""Whether a release answers: its ready path, and that it says its own commit. The ready gate and the targets ask.

Knows HTTP and an app's [app.ready]; nothing of containers or deploys. The user's proxy settings are never used.
"""

import asyncio
import json
import time
from typing import Any

import httpx

from deployd.config.app import Ready
from deployd.errors import RolloutFailed

_ONE_TRY_SECONDS = 5.0
_SHORTEST_PAUSE_SECONDS = 0.01
_SHARE_OF_THE_WAIT = 0.1
_LONGEST_ANSWER = 200
_LONGEST_PROVENANCE = 64 * 1024


def client(address: str) -> httpx.AsyncClient:
    """A client of one release."""
    # Releases speak plain HTTP. Reading the certificates of the world, which httpx does by default, takes 25 ms.
    return httpx.AsyncClient(
        base_url=address,
        trust_env=False,
        timeout=_ONE_TRY_SECONDS,
        follow_redirects=False,
        verify=False,  # noqa: S501 - see above
    )


async def until_ready(address: str, ready: Ready, commit: str | None) -> float:
    """Ask until a 2xx comes and, where the app can be asked, the commit is right; the seconds that took.

    It is asked often at first, then every `ready.every`: see `pause`.

    RolloutFailed with the last answer after `ready.within`, and at once when another commit answers. No `commit`: any will do.
    """
    began, last = time.monotonic(), "nothing was answered"
    asks: list[tuple[str, str | None]] = [(ready.path, None)]
    if ready.commit_path is not None and commit is not None:
        asks.append((ready.commit_path, commit))
    async with client(address) as http:
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
    """Seconds to the next question when the first was `waited` seconds ago: a tenth of that, so that what is ready is found
    out a tenth too late at most; never less than 10 ms, never more than `every`."""
    return min(max(waited * _SHARE_OF_THE_WAIT, _SHORTEST_PAUSE_SECONDS), every)


async def provenance(address: str, ready: Ready) -> dict[str, Any]:
    """What a ready release says of itself where it says its commit; empty when that is not a JSON object of a sane size."""
    if ready.commit_path is None:
        return {}
    try:
        async with client(address) as http:
            answer = await http.get(ready.commit_path)
            said = answer.json() if len(answer.content) <= _LONGEST_PROVENANCE else None
    except (httpx.HTTPError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def said_commit(body: str) -> str:
    """The commit in the answer of a commit path: JSON with "commit", or the plain text."""
    try:
        data = json.loads(body)
    except ValueError:
        return body.strip()
    return str(data.get("commit", "")) if isinstance(data, dict) else str(data)


async def _refusal(http: httpx.AsyncClient, path: str, commit: str | None = None) -> str | None:
    """What is wrong with the answer, None when it is good. RolloutFailed when `commit` is not the one that answers."""
    try:
        answer = await http.get(path)
    except httpx.ConnectError:
        return f"{path}: connection refused"
    except httpx.TimeoutException:
        return f"{path}: no answer in {_ONE_TRY_SECONDS:g} s"
    except httpx.HTTPError as exc:
        return f"{path}: {str(exc) or type(exc).__name__}"
    if not answer.is_success:
        return f"{path}: {answer.status_code}: {answer.text[:_LONGEST_ANSWER]}".rstrip(": \n")
    if commit is not None and (said := said_commit(answer.text)) != commit:
        raise RolloutFailed(
            f"{path} says commit {said[:_LONGEST_ANSWER] or '(none)'}, expected {commit}",
            hint="the image must say the commit that it was built from: build arg COMMIT",
        )
    return None
