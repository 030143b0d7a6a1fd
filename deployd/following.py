"""Helpers for a client that follows the daemon: waiting through its restarts, and reading server-sent events."""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx

from deployd.errors import Unavailable


class Patience:
    """How long a daemon may stay away before a follower gives up."""

    def __init__(self, seconds: float, tell: Callable[[Unavailable], object] | None) -> None:
        self._seconds = seconds
        self._tell = tell
        self._since: float | None = None

    def spend(self, exc: Unavailable) -> None:
        """The daemon is away: raise `exc` when it has been away for too long."""
        now = time.monotonic()
        first, self._since = self._since is None, now if self._since is None else self._since
        if now - self._since >= self._seconds:
            raise exc
        if first and self._tell is not None:
            self._tell(exc)

    def reset(self) -> None:
        """The daemon answers again."""
        self._since = None


async def events_of(response: httpx.Response) -> AsyncIterator[Mapping[str, Any]]:
    """The events of a stream of server-sent events; one of kind `open` comes first."""
    kind = ""
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "retry":
            yield {"kind": "open"}
        elif name == "event":
            kind = value
        elif name == "data":
            yield {"kind": kind, **json.loads(value)}
