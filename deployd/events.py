"""What happened lately, for those who watch: the event stream, the dashboard, `deploy --wait`.

A ring in memory: events are hints to look, the store holds the truth. A watcher that comes back with the id of the last event
it saw gets what it missed, or one `reset` event when that is not known any more (then it must ask for the present state).
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
    """Published on the event loop, in order; a slow watcher is told to reset rather than held in memory without bound."""

    def __init__(self) -> None:
        # Ids go on growing over a restart, so that an id of an earlier life is known to be past.
        self._first = self._next = time.time_ns() // 1_000_000
        self._ring: deque[Event] = deque(maxlen=_KEPT)
        self._more = asyncio.Event()

    def publish(self, kind: str, app: str, number: int | None, data: Mapping[str, Any]) -> None:
        """Tell everybody who watches."""
        self._ring.append(Event(self._next, datetime.now(UTC), kind, app, number, data))
        self._next += 1
        self._more.set()
        self._more = asyncio.Event()

    @property
    def latest(self) -> int:
        """The id of the newest event: who watches from here misses nothing that comes."""
        return self._next - 1

    async def watch(self, after: int | None = None) -> AsyncIterator[Event]:
        """Events after the id `after`, or from now on; never ends by itself."""
        position = self._next if after is None else after + 1
        while True:
            more = self._more
            oldest = self._ring[0].id if self._ring else self._next
            if position < max(oldest, self._first) or position > self._next:
                position = self._next  # now: what comes while the watcher asks for the present state is news to it
                yield Event(position - 1, datetime.now(UTC), "reset", "", None, {})
                continue
            for event in list(self._ring)[max(0, position - oldest) :]:
                yield event
                position = event.id + 1
            if position == self._next:
                await more.wait()
