"""Traces of deploys: when one has ended its spans are sent, and when a later step of it ends, as the drain, the span of that.

Reads what the store has; a deploy knows nothing of it. A daemon that is killed in between sends no trace of that deploy.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

from deployd.domain import Deploy, Event
from deployd.errors import Unavailable
from deployd.events import Events
from deployd.status import Status
from deployd.store.store import Store
from deployd.tracing.spans import Span, spans

_MOST_REMEMBERED = 5000
_OLD_NEWS = frozenset({Status.RETIRED, Status.REVERTED})  # of a deploy whose trace was sent when it went live


class Tracing:
    """Hands the spans to `send`, each once."""

    def __init__(self, store: Store, events: Events, instance: str, send: Callable[[Sequence[Span]], None]) -> None:
        self._store = store
        self._events = events
        self._instance = instance
        self._send = send
        self._sent: dict[int, None] = {}  # in order

    async def serve(self) -> None:
        """Follow the events, until cancelled."""
        async for event in self._events.watch():
            if event.number is not None and _ends_something(event):
                with suppress(Unavailable):  # the database cannot be read: then there is no trace
                    self._tell(await self._store.deploy(event.app, event.number))

    def _tell(self, deploy: Deploy | None) -> None:
        new = [span for span in spans(deploy, self._instance) if span.id not in self._sent] if deploy else []
        if not new:
            return
        self._sent |= dict.fromkeys(span.id for span in new)
        while len(self._sent) > _MOST_REMEMBERED:
            del self._sent[next(iter(self._sent))]
        self._send(new)


def _ends_something(event: Event) -> bool:
    if event.kind == "step":
        return bool(event.data["status"] != "running")
    return event.kind == "deploy.status" and event.data["status"] not in _OLD_NEWS
