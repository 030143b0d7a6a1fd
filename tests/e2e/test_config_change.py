"""A changed config of an app: it is told, rolled out on request without a lost request, and what failed for it is tried again."""

import asyncio
from contextlib import suppress

import pytest

from deployd.api.answers import DeployAnswer
from deployd.bringup.engine import Engine
from deployd.bringup.load import Load
from deployd.errors import RequestRefused
from deployd.status import Status
from tests.e2e.world import REST, WHO, World

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def _configure(world: World, docker: str) -> None:
    """Write these lines into [app.docker]."""
    config = world.daemon.directory / "config.toml"
    before, _, rest = config.read_text().partition("[app.docker]\n")
    kept = "".join(line for line in rest.splitlines(keepends=True) if not line.startswith("env"))
    config.write_text(f"{before}[app.docker]\n{docker}\n{kept}")


def _environment(engine: Engine, world: World, number: int) -> list[str]:
    (found,) = [
        item
        for item in engine.api().get("/containers/json?all=1")
        if (item["Labels"].get("io.deployd.app"), item["Labels"].get("io.deployd.deploy")) == (world.app, str(number))
    ]
    environment: list[str] = engine.api().get(f"/containers/{found['Id']}/json")["Config"]["Env"]
    return environment


async def _queued(world: World, number: int) -> DeployAnswer:
    """The deploy with this number, once the daemon has queued it by itself."""
    async with asyncio.timeout(60):
        async for _ in world.client.events(world.app):
            with suppress(RequestRefused):
                return await world.client.show(world.app, number)
    raise AssertionError("the daemon ended")


async def test_a_changed_config_is_told_and_rolled_out_without_a_lost_request(
    world: World, docker_engine: Engine
) -> None:
    first = await world.ended(await world.push())
    _configure(world, 'env = { MODE = "fast" }')
    assert (await world.client.reload()).older_config == [world.app]
    assert (await world.client.app(world.app)).older_config
    load = Load(world.daemon.public_url, rest=REST)
    async with load.running(WHO):
        await load.reached(200)
        restarted = await world.ended(await world.client.restart(world.app))
        await load.reached(load.sent + 200)
    assert (restarted.status, restarted.commit, restarted.image) == (Status.LIVE, first.commit, first.image)
    assert "build" not in [step.name for step in restarted.steps]
    assert "MODE=fast" in _environment(docker_engine, world, restarted.number)
    assert load.failures == []
    assert not (await world.client.app(world.app)).older_config

    _configure(world, 'env_secrets = { TOKEN = "env:NOT_SET" }')
    await world.client.reload()
    failed = await world.ended(await world.push())
    assert (failed.status, "NOT_SET is not set" in failed.reason) == (Status.FAILED, True)
    told = await world.client.app(world.app)
    assert (told.failed and told.failed.number, told.health and told.health.state) == (failed.number, "ok")
    _configure(world, 'env_secrets = { TOKEN = "env:DEPLOYD_DEMO_SECRET" }')
    await world.client.reload()
    again = await world.ended(await _queued(world, failed.number + 1))
    assert (again.status, again.commit) == (Status.LIVE, failed.commit)
