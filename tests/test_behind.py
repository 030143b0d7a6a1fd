"""What goes on behind a live release, over a lane with a real store; how a watch ends is the test's choice."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.config.file import parse
from deployd.domain import Deploy
from deployd.errors import RolloutFailed
from deployd.events import Events
from deployd.status import Status
from deployd.store.database import Database
from deployd.store.store import Store
from tests.desk import REPO
from tests.lanes import A, B, Bench, C, Held, failing

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A lane whose app is watched, with a release that is live."""
    app = {"name": "iris", "repo": REPO, "branch": "main", "gateway": {"listen": 8000}, "watch": {"for": "1h"}}
    events = Events()
    async with Database(tmp_path / "db") as database:
        bench = Bench(Store(database, events), events, parse({"app": [app]}))
        async with bench.serving():
            await bench.becomes(await bench.push(A), Status.LIVE)
            await bench.aftermath.followed.get()
            yield bench


async def _watched(bench: Bench, commit: str = B) -> Deploy:
    """A release that is live and watched."""
    deploy = await bench.becomes(await bench.push(commit), Status.LIVE)
    assert await bench.aftermath.watched.get() == deploy.number
    return deploy


async def _served(bench: Bench) -> tuple[int | None, int | None]:
    """What is recorded as live, and what serves."""
    live = (await bench.store.state("iris")).live
    return (live.number if live else None), bench.world.number


async def test_the_first_release_is_cleaned_up_behind_at_once(bench: Bench) -> None:
    assert bench.aftermath.watched.empty()


async def test_nothing_is_drained_before_a_watch_is_over(bench: Bench) -> None:
    await _watched(bench)
    assert bench.aftermath.followed.empty()
    bench.aftermath.verdicts.put_nowait("")
    assert await bench.aftermath.followed.get() == 2


async def test_a_failed_watch_returns_the_traffic_and_the_record_and_then_drains(bench: Bench) -> None:
    bad = await _watched(bench)
    bench.aftermath.verdicts.put_nowait("5 of 9 requests failed")
    assert await bench.aftermath.followed.get() == 1
    now = await bench.becomes(bad, Status.REVERTED)
    assert now.reason == "5 of 9 requests failed"
    assert await _served(bench) == (1, 1)
    assert bench.world.restored == []


async def test_the_keeper_does_not_repair_what_returns(bench: Bench) -> None:
    await _watched(bench)
    bench.world.slow = asyncio.Event()
    bench.aftermath.verdicts.put_nowait("bad")
    await bench.world.returning.wait()
    bench.world.number = None
    bench.lane.keeper.wake()
    await asyncio.sleep(0.05)
    assert bench.world.restored == []
    bench.world.slow.set()
    assert await bench.aftermath.followed.get() == 1


async def test_a_release_stays_when_what_stands_by_cannot_serve(bench: Bench) -> None:
    await _watched(bench)
    bench.world.refused = [RolloutFailed("iris/1 does not start")]
    bench.aftermath.verdicts.put_nowait("bad")
    assert await bench.aftermath.followed.get() == 2
    assert await _served(bench) == (2, 2)
    state = await bench.store.state("iris")
    assert state.live is not None
    assert (state.live.standby, state.live.returning) == (None, "")


async def test_a_newer_release_ends_the_watch_and_has_the_same_standby(bench: Bench) -> None:
    await _watched(bench)
    third = await _watched(bench, C)
    assert third.standby == 1
    bench.aftermath.verdicts.put_nowait("bad")
    assert await bench.aftermath.followed.get() == 1
    assert await _served(bench) == (1, 1)


async def test_a_return_while_a_newer_deploy_is_proven_lets_that_go_on(bench: Bench) -> None:
    await _watched(bench)
    held = bench.pipeline.scripts[C] = Held()
    newer = await bench.begins(C)
    bench.aftermath.verdicts.put_nowait("bad")
    assert await bench.aftermath.followed.get() == 1
    held.go_on.set()
    newer = await bench.becomes(newer, Status.LIVE)
    assert newer.standby == 1
    assert await _served(bench) == (3, 3)


async def test_a_cut_over_waits_for_a_return_that_has_begun(bench: Bench) -> None:
    await _watched(bench)
    held = bench.pipeline.scripts[C] = Held()
    newer = await bench.begins(C)
    bench.world.slow = asyncio.Event()
    bench.aftermath.verdicts.put_nowait("bad")
    await bench.world.returning.wait()
    held.go_on.set()
    await asyncio.sleep(0.05)
    assert await _served(bench) == (2, 2)
    bench.world.slow.set()
    await bench.becomes(newer, Status.LIVE)
    assert await _served(bench) == (3, 3)
    assert (await bench.store.deploys("iris"))[1].status is Status.REVERTED


async def test_a_deploy_that_fails_before_its_cut_over_leaves_the_watch_alone(bench: Bench) -> None:
    await _watched(bench)
    bench.pipeline.scripts[C] = failing(RolloutFailed("it does not start"))
    await bench.becomes(await bench.push(C), Status.FAILED)
    bench.aftermath.verdicts.put_nowait("bad")
    assert await bench.aftermath.followed.get() == 1
    assert bench.aftermath.watched.empty()


async def test_a_watch_that_a_failed_cut_over_has_ended_begins_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _watched(bench)

    async def fail(deploy: Deploy, *, watched: bool) -> None:
        raise RolloutFailed("the gateway refuses")

    monkeypatch.setattr(bench.pipeline, "go_live", fail)
    await bench.becomes(await bench.push(C), Status.FAILED)
    assert await bench.aftermath.watched.get() == 2


async def test_a_reverted_head_is_not_tried_again_and_the_next_one_is(bench: Bench) -> None:
    await _watched(bench)
    bench.aftermath.verdicts.put_nowait("bad")
    assert await bench.aftermath.followed.get() == 1
    bench.lane.wake()
    await bench.becomes(await bench.push(C), Status.LIVE)
    assert [deploy.status.value for deploy in await bench.store.deploys("iris")] == ["live", "reverted", "retired"]
