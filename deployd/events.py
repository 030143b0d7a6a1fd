"""The latest events, for the event stream, the dashboard and `deploy --wait`.

A ring buffer in memory: an event says that something changed, the store holds the state. A watcher that reconnects with the id
of the last event it saw gets what it missed, or one `reset` event when the buffer no longer holds that; it must then read the
present state.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from deployd.domain import Event

_KEPT = 2000


class Events:
    """Published on the event loop, in order. A watcher that is too slow gets a reset, so that memory stays bounded."""

    def __init__(self) -> None:
        # From the clock, so that ids grow across a restart: an id from before it is then recognised as too old.
        self._first = self._next = time.time_ns() // 1_000_000
        self._ring: deque[Event] = deque(maxlen=_KEPT)
        self._more = asyncio.Event()

    def publish(self, kind: str, app: str, number: int | None, data: Mapping[str, Any]) -> None:
        """Send an event to all watchers."""
        self._ring.append(Event(self._next, datetime.now(UTC), kind, app, number, data))
        self._next += 1
        self._more.set()
        self._more = asyncio.Event()

    @property
    def latest(self) -> int:
        """The id of the newest event; `watch(latest)` misses nothing that follows."""
        return self._next - 1

    async def watch(self, after: int | None = None) -> AsyncIterator[Event]:
        """Events after the id `after`, or from now on; does not end by itself."""
        position = self._next if after is None else after + 1
        while True:
            more = self._more
            oldest = self._ring[0].id if self._ring else self._next
            if position < max(oldest, self._first) or position > self._next:
                position = (
                    self._next
                )  # before the reset: what is published while the watcher reads the state is sent too
                yield Event(position - 1, datetime.now(UTC), "reset", "", None, {})
                continue
            for event in list(self._ring)[max(0, position - oldest) :]:
                yield event
                position = event.id + 1
            if position == self._next:
                await more.wait()
