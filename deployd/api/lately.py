"""Answers that are kept for a few seconds: however many browsers look, what is behind them is asked once."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_FRESH_SECONDS = 4.0
_MOST = 500


class Lately(Generic[T]):
    """Keeps the last answer for each key."""

    def __init__(self) -> None:
        self._answers: dict[Hashable, tuple[float, asyncio.Future[T]]] = {}

    async def of(self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer of `ask` for this key, asked now or some seconds ago. What goes wrong is kept as well."""
        now = time.monotonic()
        if key not in self._answers or now - self._answers[key][0] > _FRESH_SECONDS:
            if len(self._answers) >= _MOST:
                self._answers.clear()
            self._answers[key] = now, asyncio.ensure_future(ask())
        return await asyncio.shield(self._answers[key][1])
