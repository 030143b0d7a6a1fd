"""Tasks that are never left behind, and work that a cancellation may not tear apart.

Whoever starts a task here also waits for its end. Knows asyncio and nothing of what the work is.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar, overload

T = TypeVar("T")
U = TypeVar("U")
_Work = Coroutine[Any, Any, T]


async def uninterrupted(work: _Work[T]) -> T:
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


def cancel_once(task: asyncio.Task[Any]) -> None:
    """Cancel a task unless that was done before: a second cancellation would kill the clean-up of the first."""
    if not task.cancelling():
        task.cancel()


async def stop(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks and wait until all have ended, even when cancelled meanwhile. Their errors are dropped."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        cancel_once(task)
    if running:
        await uninterrupted(asyncio.wait(running))
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, or asyncio would complain that nobody did


async def first(*works: _Work[T]) -> tuple[int, T]:
    """Run all until one ends: its position and its result; an error of it is raised. The others are stopped.

    When several end at once, the one that was named first counts.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next((position, task.result()) for position, task in enumerate(tasks) if task.done())
    finally:
        await stop(*tasks)


@overload
async def together(one: _Work[T], other: _Work[U], /) -> tuple[T, U]: ...
@overload
async def together(*works: _Work[T]) -> tuple[T, ...]: ...
async def together(*works: _Work[Any]) -> tuple[Any, ...]:
    """Run all to their ends: their results. The first error stops the others and is raised as itself, not in a group."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        for task in asyncio.as_completed(tasks):
            await task
        return tuple(task.result() for task in tasks)
    finally:
        await stop(*tasks)


@asynccontextmanager
async def beside(*works: _Work[Any]) -> AsyncIterator[None]:
    """Run the works for as long as the block runs, then stop them. An error of theirs is raised where the block ends well."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        await stop(*tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
