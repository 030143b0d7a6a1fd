"""deployd is killed while it watches a release and while it returns from it: one of the two is live and serves, never none."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from deployd.api.answers import DeployAnswer
from deployd.bringup.engine import Engine
from deployd.status import Status
from tests.e2e.world import CONFIG
from tests.faults.conftest import MakeWorld
from tests.faults.daemon import RETURN
from tests.faults.survivor import GOLDEN, GOLDEN_DOCKERFILE, Survivor, surviving
from tests.faults.witness import records, until

pytestmark = [pytest.mark.engine, pytest.mark.slow]

_WATCHED = CONFIG.replace('drain = "5s"', 'drain = "1s"') + GOLDEN + '[app.watch]\nfor = "60s"\n'


@pytest.fixture
async def survivor(make_world: MakeWorld, docker_engine: Engine) -> AsyncIterator[Survivor]:
    world = await make_world(_WATCHED)
    async with surviving(world, docker_engine, random.Random(1)) as here:
        yield here


async def _pushed(survivor: Survivor) -> DeployAnswer:
    """A release that is live and will turn bad."""
    bad = await survivor.world.push(behaviour="errs after 3 s", dockerfile=GOLDEN_DOCKERFILE)
    assert (await survivor.world.ended(bad)).status is Status.LIVE
    return bad


def _live(survivor: Survivor) -> list[int]:
    return [number for (number,) in records(survivor.world, "SELECT number FROM deploys WHERE status = 'live'")]


async def _returned(survivor: Survivor, bad: DeployAnswer) -> None:
    """The first release is live again, and answers."""
    world = survivor.world
    await until(world, bad, Status.REVERTED)
    assert _live(survivor) == [1]
    before, sent = len(survivor.load.failures), survivor.load.sent
    async with asyncio.timeout(30):
        await survivor.load.reached(sent + 200)
    assert len(survivor.load.failures) - before <= len(survivor.load.clients)  # those that were under way


@pytest.mark.timeout(300)
async def test_whenever_deployd_is_killed_at_a_return_the_release_before_is_live_again_in_the_end(
    survivor: Survivor,
) -> None:
    bad = None
    await survivor.kill()
    for point in RETURN:
        ((known,),) = records(survivor.world, "SELECT max(number) FROM deploys")
        await survivor.restart(point, first=known + 1)
        await survivor.daemon.wait_until_ready()
        if bad is not None:
            await _returned(survivor, bad)
        bad = await _pushed(survivor)
        await survivor.dies()
        assert _live(survivor) in ([1], [bad.number]), point
    await survivor.restart()
    await survivor.daemon.wait_until_ready()
    assert bad is not None
    await _returned(survivor, bad)
    assert survivor.points == set(RETURN)


@pytest.mark.timeout(120)
async def test_a_watch_in_which_deployd_is_killed_goes_on_and_returns_the_traffic(survivor: Survivor) -> None:
    bad = await _pushed(survivor)
    await survivor.kill()
    assert _live(survivor) == [bad.number]
    await survivor.restart()
    await survivor.daemon.wait_until_ready()
    await _returned(survivor, bad)
    ((reason,),) = records(survivor.world, "SELECT reason FROM deploys WHERE status = 'reverted'")
    assert "requests failed" in reason or "golden answers were wrong" in reason, reason
