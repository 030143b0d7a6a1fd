"""Draws a part once for all browsers that ask for it at the same moment, as they do after an event."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass

from starlette.responses import Response

_FRESH_SECONDS = 2.0  # what no event tells, such as the health of a release, is not older than that
_KEPT = 100


@dataclass(frozen=True, slots=True)
class _Drawing:
    event: int
    at: float
    task: asyncio.Future[Response]


class Shared:
    """The last drawings, each for as long as nothing has happened since it was begun."""

    def __init__(self) -> None:
        self._drawings: OrderedDict[Hashable, _Drawing] = OrderedDict()

    async def drawn(self, key: Hashable, event: int, draw: Callable[[], Awaitable[Response]]) -> Response:
        """The result of `draw`, or the shared one from another request. `event`: the newest one; `key`: all else that the result
        depends on."""
        found, now = self._drawings.get(key), time.monotonic()
        if found is None or found.event != event or now - found.at > _FRESH_SECONDS or _failed(found.task):
            found = self._drawings[key] = _Drawing(event, now, asyncio.ensure_future(draw()))
            self._drawings.move_to_end(key)
            if len(self._drawings) > _KEPT:
                self._drawings.popitem(last=False)
        return await asyncio.shield(found.task)  # one of them may go away, and the others still want it


def _failed(task: asyncio.Future[Response]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
