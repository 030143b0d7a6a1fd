"""Runs tasks and always waits for their end; finishes work that must not be interrupted by a cancellation.

Uses only asyncio; knows nothing about the work.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar, overload
from weakref import WeakSet

T = TypeVar("T")
U = TypeVar("U")
_Work = Coroutine[Any, Any, T]
_cancelled: WeakSet[asyncio.Task[Any]] = WeakSet()


async def uninterrupted(work: _Work[T]) -> T:
    """Finish `work` even when cancelled meanwhile, then raise the cancellation. An error of `work` is raised instead."""
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


def raise_if_cancelled() -> None:
    """Raise the cancellation of the current task if there was one. Call it before a retry: the caught error may have been raised
    instead of the cancellation, as by `uninterrupted`."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def cancel_once(task: asyncio.Task[Any]) -> None:
    """Cancel a task unless that was done before: a second cancellation would interrupt its clean-up.

    `task.cancelling()` does not tell that: it also counts a timeout of the task's own that is over just now, which it survives.
    """
    if task not in _cancelled:
        _cancelled.add(task)
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
            task.exception()  # marks the error as retrieved, otherwise asyncio logs it


async def first(*works: _Work[T]) -> tuple[int, T]:
    """Run all until one ends, then stop the others. Returns its position and its result, or raises its error.

    When several end at once, the first in the arguments counts.
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
    """Run all to their ends and return their results. The first error stops the others and is raised, not in a group."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        for task in asyncio.as_completed(tasks):
            await task
        return tuple(task.result() for task in tasks)
    finally:
        await stop(*tasks)


@asynccontextmanager
async def beside(*works: _Work[Any]) -> AsyncIterator[None]:
    """Run the works while the block runs, then stop them. Their errors are raised, unless the block itself raised one."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        yield
    finally:
        await stop(*tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
