"""One deploy at a time, and the newest wins."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.domain import Deploy
from deployd.status import Status
from tests.lanes import A, B, Bench, C, Cleaning, Held, a_bench, for_ever


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path, monkeypatch) as made:
        yield made


class Clock:
    """The time as the lane sees it, which the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("deployd.lane.time", made)
    return made


def _finish_after(bench: Bench, seconds: float) -> None:
    config = bench.running.config
    supersede = config.supersede.model_copy(update={"finish_after": seconds})
    bench.running.replace(config.model_copy(update={"supersede": supersede}))


async def test_a_deploy_goes_live_and_what_comes_after_it_begins(bench: Bench) -> None:
    async with bench.serving():
        deploy = await bench.push(A)
        await bench.becomes(deploy, Status.LIVE)
        assert await bench.aftermath.followed.get() == deploy.number


async def test_the_aftermath_is_told_what_is_in_flight_meanwhile(bench: Bench) -> None:
    bench.pipeline.scripts[B] = for_ever
    async with bench.serving():
        await bench.becomes(await bench.push(A), Status.LIVE)
        await bench.aftermath.followed.get()
        assert bench.aftermath.in_flight() is None
        second = await bench.begins(B)
        assert bench.aftermath.in_flight() == second.number


async def test_a_newer_deploy_cancels_the_one_in_flight_and_wins(bench: Bench) -> None:
    bench.pipeline.scripts[A] = for_ever
    async with bench.serving():
        first = await bench.begins(A)
        second = await bench.push(B)
        old = await bench.becomes(first, Status.SUPERSEDED)
        await bench.becomes(second, Status.LIVE)
        assert (old.superseded_by, old.reason) == (second.number, "a newer deploy came: iris/2")


async def test_the_next_deploy_begins_only_after_the_clean_up_of_the_cancelled_one(bench: Bench) -> None:
    cleaning = Cleaning()
    bench.pipeline.scripts[A] = cleaning
    async with bench.serving():
        first = last = await bench.begins(A)
        for commit in (B, C, B):  # three close together do not cancel the clean-up of the first
            last = await bench.push(commit)
            await cleaning.begun.wait()
        assert bench.pipeline.began.empty()
        cleaning.let_end.set()
        await bench.becomes(last, Status.LIVE)
        assert (await bench.becomes(first, Status.SUPERSEDED)).superseded_by == last.number
        for waited in ("iris/2", "iris/3"):
            await bench.becomes(waited, Status.SUPERSEDED)


async def test_a_newer_deploy_that_comes_after_the_cut_over_comes_too_late_to_cancel(bench: Bench) -> None:
    switched, held = asyncio.Event(), Held()

    async def live_but_not_back(deploy: Deploy) -> None:
        await bench.pipeline.go_live(deploy)
        switched.set()
        await held(deploy)

    bench.pipeline.scripts[A] = live_but_not_back
    async with bench.serving():
        first = await bench.push(A)
        await switched.wait()
        second = await bench.push(B)
        await bench.becomes(second, Status.LIVE)
        assert (await bench.becomes(first, Status.RETIRED)).superseded_by is None


async def test_a_deploy_that_is_queued_at_the_cut_over_supersedes_the_one_in_flight(bench: Bench) -> None:
    async def meanwhile(_: Deploy) -> None:
        await bench.queued(B)  # durable, but not yet handed to the lane: the cut-over itself has to look

    bench.pipeline.scripts[A] = meanwhile
    async with bench.serving():
        first = await bench.push(A)
        assert (await bench.becomes(first, Status.SUPERSEDED)).superseded_by == 2
        await bench.becomes("iris/2", Status.LIVE)


async def test_a_deploy_goes_on_when_the_newer_one_is_cancelled_while_it_makes_way(bench: Bench) -> None:
    cleaning = Cleaning()
    bench.pipeline.scripts[A] = cleaning
    async with bench.serving():
        first = await bench.begins(A)
        second = await bench.push(B)
        await cleaning.begun.wait()
        await bench.store.advance(second, Status.CANCELLED, reason="cancelled by hand")
        del bench.pipeline.scripts[A]
        cleaning.let_end.set()
        await bench.becomes(first, Status.LIVE)


async def test_pushes_without_end_let_a_deploy_finish_after_the_guard(bench: Bench) -> None:
    held = Held()
    bench.pipeline.scripts[A] = held
    async with bench.serving():
        _finish_after(bench, 0.0)
        first = await bench.begins(A)
        second = await bench.push(B)
        held.go_on.set()
        await bench.becomes(second, Status.LIVE)
        assert (await bench.becomes(first, Status.RETIRED)).live_at is not None


async def test_the_guard_counts_from_the_first_of_the_deploys_that_superseded_each_other(
    bench: Bench, clock: Clock
) -> None:
    held = Held()
    bench.pipeline.scripts = {A: for_ever, B: held}
    almost = 0.6 * bench.running.config.supersede.finish_after
    async with bench.serving():
        first = await bench.begins(A)
        clock.now += almost
        second = await bench.begins(B)
        await bench.becomes(first, Status.SUPERSEDED)
        clock.now += almost
        third = await bench.push(C)
        held.go_on.set()
        await bench.becomes(third, Status.LIVE)
        assert (await bench.becomes(second, Status.RETIRED)).live_at is not None


async def test_the_guard_begins_anew_with_the_deploy_after_one_that_could_finish(bench: Bench, clock: Clock) -> None:
    held = Held()
    bench.pipeline.scripts = {A: held, B: for_ever}
    async with bench.serving():
        await bench.begins(A)
        clock.now += 2 * bench.running.config.supersede.finish_after
        second = await bench.push(B)
        held.go_on.set()
        while await bench.pipeline.began.get() != second:
            pass
        third = await bench.push(C)
        assert (await bench.becomes(second, Status.SUPERSEDED)).superseded_by == third.number


async def test_the_guard_begins_anew_when_nothing_waits_any_more(
    bench: Bench, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle, take_newest = asyncio.Event(), bench.store.take_newest
    withdrawn: list[Deploy] = []

    async def taken(app: str) -> Deploy | None:
        while withdrawn:
            await bench.store.advance(withdrawn.pop(), Status.CANCELLED, reason="cancelled by hand")
        if (deploy := await take_newest(app)) is None:
            idle.set()
        return deploy

    monkeypatch.setattr(bench.store, "take_newest", taken)
    bench.pipeline.scripts = {A: for_ever, C: for_ever}
    async with bench.serving():
        first = await bench.begins(A)
        idle.clear()
        second = await bench.queued(B)
        withdrawn.append(second)  # cancelled in the moment in which it would be taken up
        bench.lane.submit(second)
        await bench.becomes(first, Status.SUPERSEDED)
        await idle.wait()
        clock.now += 2 * bench.running.config.supersede.finish_after
        third = await bench.begins(C)
        await bench.push(B)
        await bench.becomes(third, Status.SUPERSEDED)


async def test_deploys_of_a_paused_app_wait_and_the_newest_wins_on_resume(bench: Bench) -> None:
    await bench.pause(paused=True)
    async with bench.serving():
        first, second = await bench.push(A), await bench.push(B)
        await bench.pause(paused=False)
        await bench.becomes(second, Status.LIVE)
        await bench.becomes(first, Status.SUPERSEDED)


async def test_a_push_to_a_paused_app_leaves_the_deploy_in_flight_alone(bench: Bench) -> None:
    held = Held()
    bench.pipeline.scripts[A] = held
    async with bench.serving():
        first = await bench.begins(A)
        await bench.pause(paused=True)
        second = await bench.push(B)
        held.go_on.set()
        await bench.becomes(first, Status.LIVE)
        assert (await bench.becomes(second, Status.QUEUED)).number == second.number
        await bench.pause(paused=False)
        await bench.becomes(second, Status.LIVE)


async def test_the_lane_runs_each_deploy_with_the_config_as_it_is_when_it_begins(bench: Bench) -> None:
    async with bench.serving():
        await bench.becomes(await bench.push(A), Status.LIVE)
        config = bench.running.config
        bench.running.replace(
            config.model_copy(update={"app": (bench.lane.app.model_copy(update={"branch": "next"}),)})
        )
        assert bench.lane.app.branch == "next"
        bench.running.replace(config.model_copy(update={"app": ()}))
        assert bench.lane.app.branch == "main"
