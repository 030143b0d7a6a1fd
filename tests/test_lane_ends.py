"""How a deploy ends, and what the lane does then."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.backoff import Backoff
from deployd.config.app import App
from deployd.domain import Deploy
from deployd.errors import BuildFailed, RolloutFailed, Unavailable
from deployd.metrics import DEPLOYS
from deployd.passage import MayCutOver
from deployd.status import Status
from deployd.store.database import Work
from tests.lanes import A, B, Bench, Cleaning, a_bench, away, failing, for_ever


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path, monkeypatch) as made:
        yield made


@pytest.mark.parametrize("failure", [BuildFailed("no such base", hint="last lines"), RolloutFailed("never ready")])
async def test_a_failure_ends_the_deploy_with_its_reason_and_the_lane_goes_on(
    bench: Bench, failure: BuildFailed | RolloutFailed
) -> None:
    bench.pipeline.scripts[A] = failing(failure)
    async with bench.serving():
        failed = await bench.becomes(await bench.push(A), Status.FAILED)
        assert (failed.reason, failed.hint) == (failure.message, failure.hint)
        assert await bench.aftermath.pruned.get() == "iris"
        await bench.becomes(await bench.push(B), Status.LIVE)


async def test_the_lane_waits_for_something_unavailable(bench: Bench) -> None:
    bench.pipeline.scripts[A] = failing(*away(3))
    async with bench.serving():
        await bench.becomes(await bench.push(A), Status.LIVE)
    assert bench.pipeline.began.qsize() == 4


async def test_a_retry_waits_but_a_newer_deploy_begins_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: asyncio.Queue[Deploy | None] = asyncio.Queue()
    take_newest = bench.store.take_newest

    async def noting(app: str) -> Deploy | None:
        deploy = await take_newest(app)
        taken.put_nowait(deploy)
        return deploy

    monkeypatch.setattr(bench.store, "take_newest", noting)
    bench.lane._backoff = Backoff((1000.0,))
    bench.pipeline.scripts[A] = failing(Unavailable("the remote is away", hint="look at the network"))
    async with bench.serving():
        first = await bench.begins(A)
        waits = await bench.becomes(first, Status.QUEUED)
        assert (waits.reason, waits.hint) == ("the remote is away; trying again in 1000 s", "look at the network")
        while not taken.empty():
            taken.get_nowait()
        for _ in range(2):
            bench.lane.wake()
            assert await taken.get() == await bench.becomes(first, Status.QUEUED)
        second = await bench.push(B)
        await bench.becomes(second, Status.LIVE)
        assert bench.pipeline.began.get_nowait().number == second.number


async def test_a_deploy_that_fails_before_it_begins_for_want_of_the_disk_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bench.pipeline.run

    async def without_a_log(app: App, deploy: Deploy, may_cut_over: MayCutOver) -> None:
        monkeypatch.setattr(bench.pipeline, "run", run)
        raise Unavailable("cannot open the log")

    monkeypatch.setattr(bench.pipeline, "run", without_a_log)
    async with bench.serving():
        await bench.becomes(await bench.push(A), Status.LIVE)
    reasons = [one.data["reason"] for one in bench.events._ring if one.data.get("status") == "queued"]
    assert reasons == ["", "cannot open the log; trying again in 0 s"]


async def test_a_bug_fails_the_deploy_and_ends_the_lane_loudly(bench: Bench) -> None:
    async def bug(deploy: Deploy) -> None:
        raise ZeroDivisionError

    bench.pipeline.scripts[A] = bug
    task = asyncio.create_task(bench.lane.serve())
    deploy = await bench.push(A)
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(20):
            await task
    assert caught.group_contains(ZeroDivisionError)
    assert "a bug in deployd" in (await bench.becomes(deploy, Status.FAILED)).reason


async def test_a_deploy_that_is_cancelled_by_hand_ends_as_cancelled(bench: Bench) -> None:
    bench.pipeline.scripts[A] = for_ever
    async with bench.serving():
        deploy = await bench.begins(A)
        assert not bench.lane.cancel(17)
        assert bench.lane.cancel(deploy.number)
        assert (await bench.becomes(deploy, Status.CANCELLED)).reason == "cancelled by hand"


async def test_a_cancellation_by_hand_counts_though_the_deploy_makes_way_already(bench: Bench) -> None:
    cleaning = Cleaning()
    bench.pipeline.scripts[A] = cleaning
    async with bench.serving():
        first = await bench.begins(A)
        second = await bench.push(B)
        await cleaning.begun.wait()
        await bench.store.advance(second, Status.CANCELLED, reason="cancelled by hand")
        assert bench.lane.cancel(first.number)
        cleaning.let_end.set()
        assert (await bench.becomes(first, Status.CANCELLED)).reason == "cancelled by hand"


async def test_a_cancellation_by_hand_counts_though_the_daemon_stops_meanwhile(bench: Bench) -> None:
    cleaning = Cleaning()
    bench.pipeline.scripts[A] = cleaning
    async with bench.serving():
        deploy = await bench.begins(A)
        assert bench.lane.cancel(deploy.number)
        await cleaning.begun.wait()
        asyncio.get_running_loop().call_later(0.05, cleaning.let_end.set)
    assert (await bench.becomes(deploy, Status.CANCELLED)).reason == "cancelled by hand"


async def test_a_deploy_cancelled_in_the_moment_in_which_it_is_taken_up_stays_cancelled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = bench.pipeline.run

    async def too_late(app: App, deploy: Deploy, may_cut_over: MayCutOver) -> None:
        monkeypatch.setattr(bench.pipeline, "run", run)
        await bench.store.advance(deploy, Status.CANCELLED, reason="cancelled by hand")
        await run(app, deploy, may_cut_over)

    monkeypatch.setattr(bench.pipeline, "run", too_late)
    async with bench.serving():
        assert (await bench.becomes(await bench.push(A), Status.CANCELLED)).reason == "cancelled by hand"
        await bench.becomes(await bench.push(B), Status.LIVE)


async def test_a_stop_queues_the_deploy_in_flight_again_and_the_next_start_takes_it_up(bench: Bench) -> None:
    bench.pipeline.scripts[A] = for_ever
    async with bench.serving():
        deploy = await bench.begins(A)
    left = await bench.becomes(deploy, Status.QUEUED)
    assert left.reason == "deployd was stopped"
    del bench.pipeline.scripts[A]
    async with bench.serving():
        await bench.becomes(deploy, Status.LIVE)


async def test_a_stop_leaves_it_to_the_next_start_to_restore_what_served(bench: Bench) -> None:
    rolling_out = asyncio.Event()

    async def cut_off(deploy: Deploy) -> None:
        for status in (Status.CHECKING, Status.ROLLING_OUT):
            await bench.store.advance(deploy, status)
        rolling_out.set()
        await asyncio.Event().wait()

    live = await bench.left_at(Status.BUILDING, Status.ROLLING_OUT, Status.LIVE)
    bench.world.number = live.number
    bench.pipeline.scripts[B] = cut_off
    async with asyncio.timeout(20), bench.serving():
        deploy = await bench.push(B)
        await rolling_out.wait()
        bench.world.number, bench.world.refused = None, away(1000)
    await bench.becomes(deploy, Status.QUEUED)
    assert len(bench.world.refused) == 1000


@pytest.mark.parametrize("asked", ["newer", "hand", "stop"])
async def test_a_deploy_that_is_stopped_before_it_is_recorded_as_begun_ends_like_any_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    preparing, run = asyncio.Event(), bench.pipeline.run

    async def slow(app: App, deploy: Deploy, may_cut_over: MayCutOver) -> None:
        monkeypatch.setattr(bench.pipeline, "run", run)
        preparing.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(bench.pipeline, "run", slow)
    async with bench.serving():
        deploy = await bench.push(A)
        await preparing.wait()
        if asked == "newer":
            await bench.push(B)
            await bench.becomes(deploy, Status.SUPERSEDED)
        if asked == "hand":
            bench.lane.cancel(deploy.number)
            await bench.becomes(deploy, Status.CANCELLED)
    if asked == "stop":
        assert (await bench.becomes(deploy, Status.QUEUED)).reason == "deployd was stopped"


async def test_a_disk_that_is_full_does_not_keep_the_lane_from_stopping(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, write = asyncio.Event(), bench.store._database.write

    async def refused(work: Work[object]) -> object:
        if full.is_set():
            raise Unavailable("the state cannot be written: database or disk is full")
        return await write(work)

    bench.pipeline.scripts[A] = for_ever
    async with asyncio.timeout(20), bench.serving():
        deploy = await bench.begins(A)
        monkeypatch.setattr(bench.store._database, "write", refused)
        full.set()
        bench.store.stop_waiting()
    await bench.becomes(deploy, Status.BUILDING)
    full.clear()
    del bench.pipeline.scripts[A]
    async with bench.serving():
        await bench.becomes(deploy, Status.LIVE)


async def test_a_database_that_is_held_while_a_deploy_ends_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest_queued, refused = bench.store.newest_queued, [Unavailable("the database is locked")]

    async def refusing(app: str) -> int:
        if refused:
            raise refused.pop()
        return await newest_queued(app)

    bench.pipeline.scripts[A] = failing(BuildFailed("no such base"))
    monkeypatch.setattr(bench.store, "newest_queued", refusing)
    async with bench.serving():
        await bench.becomes(await bench.push(A), Status.FAILED)
    assert refused == []


async def test_only_an_end_is_counted_and_by_its_own_name(bench: Bench) -> None:
    def counted() -> dict[str, float]:
        (metric,) = DEPLOYS.collect()
        totals = (sample for sample in metric.samples if sample.name.endswith("_total"))
        return {sample.labels["status"]: sample.value for sample in totals if sample.labels["app"] == "iris"}

    before = counted()
    bench.pipeline.scripts |= {A: for_ever, B: failing(Unavailable("the registry is away"))}
    async with bench.serving():
        first = await bench.begins(A)
        await bench.push(B)
        await bench.becomes(first, Status.SUPERSEDED)
        async with asyncio.timeout(20):
            await bench.aftermath.followed.get()
    grown = {status: value - before.get(status, 0) for status, value in counted().items()}
    assert {status: value for status, value in grown.items() if value} == {"superseded": 1, "live": 1}
