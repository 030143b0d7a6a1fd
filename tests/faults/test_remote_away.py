"""A git remote refuses, hangs, or sends half a pack during a deploy; when it works again, the head goes live."""

import asyncio
from pathlib import Path

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.load import Load
from deployd.bringup.repository import deliver
from deployd.status import Status
from tests.e2e.world import CONFIG, REST, WHO, World
from tests.faults.conftest import MakeWorld
from tests.faults.promises import check_clients, check_world
from tests.faults.witness import finishes, readyz
from tests.source.servers import Behaviour, a_git_server

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def test_a_remote_that_fails_only_delays_the_head(
    make_world: MakeWorld, docker_engine: Engine, tmp_path: Path
) -> None:
    behaviour = Behaviour()
    with a_git_server(tmp_path, behaviour) as url:
        config = CONFIG.replace("file://{remote}", f"{url}/acme/iris.git")
        world = await make_world(config.replace('poll_every = "1h"', 'poll_every = "1h"\ntimeout = "2s"'))
        await world.ended(await world.push())
        load = Load(world.daemon.public_url, rest=REST)
        async with load.running(WHO):
            behaviour.status = 503
            guid = await _pushed_in_vain(world)
            behaviour.status = None
            assert (await world.ended(await world.came_of(guid))).status is Status.LIVE

            behaviour.truncate = True
            guid = await _pushed_in_vain(world)
            behaviour.truncate = False
            assert (await world.ended(await world.came_of(guid))).status is Status.LIVE

            behaviour.hang = True
            guid = await _pushed_in_vain(world)
            behaviour.hang = False
            live = await world.ended(await world.came_of(guid))
            assert live.status is Status.LIVE
            await finishes(world, live)
        check_clients(load)
        check_world(world, docker_engine.api())


async def _pushed_in_vain(world: World) -> str:
    """Push a change to the remote that fails; return the GUID of the delivery once a look has failed."""
    world.change()
    payload = await asyncio.to_thread(world.repository.push, "Change")
    answer = await deliver(world.daemon.url, world.daemon.secret, payload)
    assert answer.status_code == 202, answer.text
    await readyz(world, "git", "no look")
    return str(answer.json()["delivery"])
