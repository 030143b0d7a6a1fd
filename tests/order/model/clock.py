"""An event loop with a clock of its own: where a loop would wait, the clock goes on instead.

An hour passes in a moment, a wait is exact, and a run is the same every time. So nothing may run in threads: what is meant for
one runs on the loop, a moment later.
"""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")


class _Impatient(selectors.SelectSelector):
    """Instead of a wait, time passes."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing will ever happen any more"
            self.now += timeout
        return ready


class Clock(asyncio.SelectorEventLoop):
    """`thread_s`: how long everything takes that is meant for a thread."""

    def __init__(self, thread_s: float) -> None:
        self.thread_s = thread_s
        self._impatient = _Impatient()
        super().__init__(self._impatient)

    def time(self) -> float:
        """Seconds since the beginning."""
        return self._impatient.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """What is meant for a thread."""
        future: asyncio.Future[T] = self.create_future()
        self.call_later(self.thread_s, _run, future, func, args)
        return future


def now() -> float:
    """What time it is on the clock that runs."""
    return asyncio.get_running_loop().time()


def _run(future: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    try:
        future.set_result(func(*args))
    except Exception as exc:  # noqa: BLE001 - it belongs to who waits for it
        future.set_exception(exc)
