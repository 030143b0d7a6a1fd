import asyncio
from contextlib import suppress

import pytest

from deployd.tasks import beside, cancel_once, first, raise_if_cancelled, stop, together, uninterrupted


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


async def test_a_cancellation_that_an_error_hid_can_be_raised_before_a_retry() -> None:
    begun = asyncio.Event()

    async def failing() -> None:
        begun.set()
        await asyncio.sleep(0)
        raise ValueError

    async def trying_again() -> None:
        while True:
            try:
                await uninterrupted(failing())
            except ValueError:
                raise_if_cancelled()

    raise_if_cancelled()
    task = asyncio.create_task(trying_again())
    await begun.wait()
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()


async def test_work_that_cancels_itself_is_a_cancellation() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await uninterrupted(work())


class Work:
    """Runs until told; its clean-up takes a moment, and is noted when it was not torn."""

    def __init__(self, result: str = "", error: Exception | None = None) -> None:
        self.result, self.error = result, error
        self.begun, self.go, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def run(self) -> str:
        self.begun.set()
        try:
            await self.go.wait()
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.ended.set()
        if self.error is not None:
            raise self.error
        return self.result


async def test_the_first_to_end_gives_its_place_and_result_and_the_others_have_cleaned_up() -> None:
    slow, quick = Work(), Work("done")
    quick.go.set()
    assert await first(slow.run(), quick.run()) == (1, "done")
    assert slow.ended.is_set()


async def test_when_several_end_at_once_the_first_argument_counts() -> None:
    assert await first(asyncio.sleep(0, "one"), asyncio.sleep(0, "two")) == (0, "one")


async def test_an_error_of_the_first_to_end_is_raised_as_itself() -> None:
    slow, broken = Work(), Work(error=ValueError("broken"))
    broken.go.set()
    with pytest.raises(ValueError, match="broken"):
        await first(slow.run(), broken.run())
    assert slow.ended.is_set()


async def test_an_error_that_an_end_of_the_others_hides_is_dropped() -> None:
    async def fails_when_cancelled() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("late")

    assert await first(fails_when_cancelled(), asyncio.sleep(0, "done")) == (1, "done")


async def test_cancelling_a_race_ends_all_that_run_in_it_however_often() -> None:
    works = [Work(), Work()]
    race = asyncio.create_task(first(*(work.run() for work in works)))
    for work in works:
        await work.begun.wait()
    for _ in range(3):
        race.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await race
    assert all(work.ended.is_set() for work in works)


async def test_together_gives_all_results_in_the_order_of_the_works() -> None:
    assert await together(asyncio.sleep(0.001, "slow"), asyncio.sleep(0, "quick")) == ("slow", "quick")
    assert await together() == ()


async def test_together_the_first_error_ends_the_others() -> None:
    slow, broken = Work(), Work(error=ValueError("broken"))
    broken.go.set()
    with pytest.raises(ValueError, match="broken"):
        await together(slow.run(), broken.run())
    assert slow.ended.is_set()


async def test_work_beside_a_block_has_ended_after_it() -> None:
    work = Work()
    async with beside(work.run()):
        await work.begun.wait()
    assert work.ended.is_set()


async def test_an_error_beside_a_block_is_raised_after_it() -> None:
    broken = Work(error=ValueError("broken"))
    broken.go.set()
    with pytest.raises(ValueError, match="broken"):
        async with beside(broken.run()):
            await broken.ended.wait()


async def test_an_error_of_the_block_goes_before_one_beside_it() -> None:
    broken = Work(error=ValueError("beside"))
    broken.go.set()

    async def block() -> None:
        async with beside(broken.run()):
            await broken.ended.wait()
            raise ValueError("block")

    with pytest.raises(ValueError, match="block"):
        await block()


async def test_stopping_tasks_that_have_ended_already_is_nothing() -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    await stop(task)
    await stop()


async def test_a_task_is_stopped_though_a_timeout_of_its_own_is_over_at_that_moment() -> None:
    loop = asyncio.get_running_loop()

    async def wait_again() -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01) as limit:
                    # In the same turn of the loop, right after the timeout.
                    loop.call_at((limit.when() or 0.0) + 1e-9, cancel_once, task)
                    await asyncio.Event().wait()

    task = asyncio.create_task(wait_again())
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()
