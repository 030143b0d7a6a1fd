"""How long a request may keep us waiting for its body: one timer for all requests, since a timer each would cost the hot path.

A request that is late is cancelled within one and a half times the limit.
"""

import asyncio
import time
from collections.abc import Awaitable, Generator
from typing import Any, Generic, TypeVar

from model_service.errors import BodyUnread

T = TypeVar("T")


class Begun(Generic[T]):
    """An awaitable that was begun by hand (`next`) and gave `pending` to wait for; awaited, it goes on from there."""

    def __init__(self, rest: Generator[Any, Any, T], pending: Any) -> None:
        self._rest = rest
        self._pending = pending

    def __await__(self) -> Generator[Any, Any, T]:
        pending = self._pending
        while True:
            try:
                try:
                    said = yield pending
                except BaseException as exc:  # noqa: BLE001 - a cancellation, which is the rest's to see
                    pending = self._rest.throw(exc)
                else:
                    pending = self._rest.send(said)
            except StopIteration as done:
                given: T = done.value
                return given


class Patience:
    """Watches the tasks that wait for a body. `seconds` is the limit."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waiting: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def with_one(self, waiting: Awaitable[T]) -> T:
        """What `waiting` gives. Raises BodyUnread 408 when that is late."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # a coroutine runs in a task
        self._waiting[task] = time.monotonic()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.seconds / 2, self._sweep)
        try:
            return await waiting
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            self._late.discard(task)
            task.uncancel()
            raise BodyUnread(408, f"the body did not arrive within {self.seconds:g} s") from None
        finally:
            self._waiting.pop(task, None)

    def _sweep(self) -> None:
        oldest = time.monotonic() - self.seconds
        for task in [task for task, since in self._waiting.items() if since <= oldest]:
            del self._waiting[task]
            self._late.add(task)
            task.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.seconds / 2, self._sweep) if self._waiting else None
