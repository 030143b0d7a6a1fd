"""The engine is away for a while: the app still answers, the deploy waits and says why, and goes live when the engine is back."""

import asyncio
import time

import pytest

from deployd.api.answers import DeployAnswer
from deployd.bringup.engine import Engine
from deployd.bringup.load import Load
from deployd.status import Status
from tests.e2e.world import CONFIG, DOCKERFILE, REST, WHO, World
from tests.faults.conftest import MakeWorld
from tests.faults.promises import check_clients, check_world
from tests.faults.proxy import EngineProxy
from tests.faults.witness import begins, finishes, readyz, serving, until

pytestmark = [pytest.mark.engine, pytest.mark.slow]

_SLOW_TO_START = DOCKERFILE.replace("CMD [", 'CMD ["sh", "-c", "sleep 3; exec python3 -u /app.py"]\n#')


async def _stopping(engine: Engine, container: str) -> None:
    """Wait until the container was told to stop and has not stopped yet."""
    path = f"/containers/{container}/top"
    async with asyncio.timeout(60):
        while not any(row[-1].startswith("sleep") for row in engine.api().get(path)["Processes"]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_deploy_waits_for_an_engine_that_is_away_and_goes_live_when_it_is_back(
    make_world: MakeWorld, proxy: EngineProxy, docker_engine: Engine
) -> None:
    """It goes away during a build, while the candidate starts, and before the daemon starts; and it hangs."""
    world = await make_world(environment=proxy.environment)
    first = await world.ended(await world.push())
    load = Load(world.daemon.public_url, rest=REST)
    async with load.running(WHO):
        deploy = await world.push(dockerfile=DOCKERFILE + "RUN sleep 3\n")
        await world.says(deploy, "sleep 3")
        proxy.away()
        await until(world, deploy, Status.QUEUED, "trying again")
        await readyz(world, "engine", "does not answer")
        assert await serving(world) == first.commit
        await proxy.back()
        await _goes_live(world, deploy)
        await readyz(world, "engine", "ok")

        deploy = await world.push(dockerfile=_SLOW_TO_START)
        await begins(world, deploy, "ready")
        proxy.away()
        await until(world, deploy, Status.QUEUED, "trying again")
        await proxy.back()
        await _goes_live(world, deploy)

        deploy = await world.push(dockerfile=DOCKERFILE + "RUN sleep 2\n")
        await world.says(deploy, "sleep 2")
        proxy.hang()
        await readyz(world, "engine", "no answer")
        proxy.flow()
        await _goes_live(world, deploy)

        await world.daemon.stop()
        proxy.away()
        await world.daemon.start()
        await world.daemon.wait_until_ready()
        await readyz(world, "engine", "does not answer")
        deploy = await world.push()
        await proxy.back()
        await _goes_live(world, deploy)
    check_clients(load)
    check_world(world, docker_engine.api())


async def _goes_live(world: World, deploy: DeployAnswer) -> None:
    live = await world.ended(deploy)
    assert live.status is Status.LIVE, live.reason
    await finishes(world, live)


async def test_a_deploy_waits_for_an_engine_that_goes_away_during_a_drain(
    make_world: MakeWorld, proxy: EngineProxy, docker_engine: Engine
) -> None:
    slow_to_stop = DOCKERFILE.replace(
        "CMD [", 'CMD ["sh", "-c", "trap \'sleep 3; exit\' TERM; python3 -u /app.py & wait"]\n#'
    )
    world = await make_world(CONFIG.replace('stop_timeout = "2s"', 'stop_timeout = "8s"'), proxy.environment)
    await world.ended(await world.push(dockerfile=slow_to_stop))
    load = Load(world.daemon.public_url, rest=REST)
    async with load.running(WHO):
        deploy = await world.push()
        await _stopping(docker_engine, world.daemon.container(1))
        proxy.away()
        live = await until(world, deploy, Status.LIVE)
        await readyz(world, "engine", "does not answer")
        await proxy.back()
        await finishes(world, live)
    check_clients(load)
    check_world(world, docker_engine.api())


@pytest.mark.parametrize("step", ["build", "ready"])
async def test_a_daemon_ends_while_the_engine_hangs_and_the_next_start_continues(
    make_world: MakeWorld, proxy: EngineProxy, docker_engine: Engine, step: str
) -> None:
    slow = DOCKERFILE.replace("CMD [", 'RUN sleep 3\nCMD ["sh", "-c", "sleep 3; exec python3 -u /app.py"]\n#')
    world = await make_world(CONFIG.replace("[github]", 'stop_timeout = "1s"\n[github]'), proxy.environment)
    await world.ended(await world.push())
    deploy = await world.push(dockerfile=slow)
    await begins(world, deploy, step)
    proxy.hang()
    began = time.monotonic()
    await world.daemon.stop()
    assert time.monotonic() - began < 41  # stop_timeout, 30 s more, and a little
    assert world.daemon.process is not None
    assert world.daemon.process.returncode in {0, 1}
    proxy.flow()
    await world.daemon.start()
    await world.daemon.wait_until_ready()
    live = await world.ended(deploy)
    assert live.status is Status.LIVE
    await finishes(world, live)
    check_world(world, docker_engine.api())
