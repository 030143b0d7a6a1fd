import asyncio

import pytest

from deployd.uninterrupted import uninterrupted


async def test_it_gives_back_what_the_work_gives() -> None:
    assert await uninterrupted(asyncio.sleep(0, "done")) == "done"


async def test_cancelled_twice_it_still_finishes_and_then_obeys() -> None:
    begun, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await go.wait()
        done.set()

    task = asyncio.create_task(uninterrupted(work()))
    await begun.wait()
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()


async def test_an_error_of_the_work_goes_before_a_cancellation() -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await go.wait()
        raise ValueError("torn")

    task = asyncio.create_task(uninterrupted(work()))
    await begun.wait()
    task.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(ValueError, match="torn"):
        await task


async def test_work_that_cancels_itself_is_a_cancellation() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await uninterrupted(work())
