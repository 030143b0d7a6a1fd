"""deployd is killed in the middle of a canary, under load: the old release gets everything again, and the restart begins anew."""

import asyncio
import random
from collections.abc import AsyncIterator

import httpx
import pytest

from deployd.bringup.engine import Engine
from deployd.gateway.share import LOAN_SECONDS
from tests.e2e.world import CONFIG, World
from tests.faults.conftest import MakeWorld
from tests.faults.survivor import GOLDEN, Survivor, surviving

pytestmark = [pytest.mark.engine, pytest.mark.slow]

_CANARY = 'weights = [50, 100]\nstep = "3s"\n'


@pytest.fixture
async def survivor(make_world: MakeWorld, docker_engine: Engine) -> AsyncIterator[Survivor]:
    """A world with canaries, a live release and clients that load it."""
    config = CONFIG.replace("[app.ready]", _CANARY + "[app.ready]").replace('drain = "5s"', 'drain = "1s"')
    async with surviving(await make_world(config + GOLDEN), docker_engine, random.Random(0)) as here:
        yield here


async def _answering(world: World) -> set[str]:
    """The commits of those who answer 40 requests."""
    async with httpx.AsyncClient(trust_env=False, base_url=world.daemon.public_url, verify=False) as http:
        return {str((await http.get("/")).json()["commit"]) for _ in range(40)}


async def test_a_daemon_that_is_killed_in_a_canary_loses_no_request_and_the_old_release_gets_them_all(
    survivor: Survivor,
) -> None:
    world, old = survivor.world, survivor.world.repository.head
    new = await survivor.push()
    async with asyncio.timeout(60):
        while await _answering(world) != {old, new}:
            pass
    assert "canary" in await survivor.kill()
    await asyncio.sleep(LOAN_SECONDS + 0.5)
    assert await _answering(world) == {old}

    await survivor.restart()
    await survivor.daemon.wait_until_ready()
    async with asyncio.timeout(60):
        async for _ in world.client.events(world.app):
            app = await world.client.app(world.app)
            if app.live is not None and app.live.commit == new and app.in_flight is None:
                break
    assert await _answering(world) == {new}
    assert survivor.load.sent > 100
    assert not survivor.load.failures
