"""How long a request may keep us waiting for its body: one timer for all requests, since a timer each would cost the hot path.

A request that is late is cancelled within one and a half times the limit.
"""

import asyncio
import time


class Patience:
    """Watches the tasks that wait for a body. `seconds` is the limit."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waiting: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> asyncio.Task[object]:
        """The current task begins to wait."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # called from coroutines only
        self._waiting[task] = time.monotonic()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.seconds / 2, self._sweep)
        return task

    def end(self, task: asyncio.Task[object]) -> None:
        """The task waits no longer."""
        self._waiting.pop(task, None)

    def lost(self, task: asyncio.Task[object]) -> bool:
        """Whether it was we who cancelled the task; if so, the cancellation is taken back."""
        if task not in self._late:
            return False
        self._late.discard(task)
        task.uncancel()
        return True

    def _sweep(self) -> None:
        oldest = time.monotonic() - self.seconds
        for task in [task for task, since in self._waiting.items() if since <= oldest]:
            del self._waiting[task]
            self._late.add(task)
            task.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.seconds / 2, self._sweep) if self._waiting else None
