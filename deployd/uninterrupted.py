"""Work that a cancellation may not tear apart: the cut-over, and clean-up that has begun.

Knows asyncio and nothing of what the work is.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Finish `work` even when cancelled meanwhile, however often; then obey. An error of `work` goes before a cancellation."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as exc:
            cancelled = exc
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result


def cancel_once(task: asyncio.Task[None]) -> None:
    """Cancel a task unless that was done before: a second cancellation would kill the clean-up of the first."""
    if not task.cancelling():
        task.cancel()
