"""HAProxy dies, is removed or loses its file, or the release dies after the switch: the right one serves again in seconds."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import httpx
import pytest

from deployd.api.answers import DeployAnswer
from deployd.bringup.engine import Engine
from deployd.bringup.load import Load
from deployd.status import Status
from tests.e2e.world import CONFIG, REST, WHO, World
from tests.faults.conftest import MakeWorld
from tests.faults.promises import check_world
from tests.faults.witness import finishes, until

pytestmark = [pytest.mark.engine, pytest.mark.slow]

_WITHIN_S = 60.0
_MANY = 500
_GAP_S = 10.0  # a second or two is the rule; a busy machine takes longer


@contextmanager
def _a_short_gap(cause: str) -> Iterator[None]:
    """Check that the block, from the fault to the first good answers, takes no longer than the limit."""
    began = time.monotonic()
    yield
    gap = time.monotonic() - began
    print(f"{cause}: {gap:.1f} s until it served again")
    assert gap < _GAP_S


async def _serves(world: World, commit: str) -> None:
    """Wait until the app's port answers `commit` five times in a row, each time on a new connection."""
    well = 0
    async with asyncio.timeout(_WITHIN_S):
        while well < 5:
            try:
                async with httpx.AsyncClient(trust_env=False, timeout=5, verify=False) as client:
                    answer = await client.get(world.daemon.public_url)
            except httpx.TransportError:
                well = 0
                await asyncio.sleep(0.02)
            else:
                well = well + 1 if answer.text == commit else 0


@asynccontextmanager
async def _no_failure(load: Load) -> AsyncIterator[None]:
    """Check that no request fails in the block or in the many requests after it."""
    before = len(load.failures)
    yield
    await load.reached(load.sent + _MANY)
    assert load.failures[before:] == []


async def _live(world: World) -> DeployAnswer:
    live = await world.ended(await world.push())
    assert live.status is Status.LIVE, live.reason
    await finishes(world, live)
    return live


async def test_the_live_release_serves_again_whatever_happens_to_haproxy(
    make_world: MakeWorld, docker_engine: Engine
) -> None:
    world = await make_world()
    await _live(world)
    live = await _live(world)
    api, name = docker_engine.api(), f"deployd-gateway-{world.daemon.instance}"
    file = world.daemon.directory / "state" / "gateway" / "config" / "haproxy.cfg"
    whole = file.read_text()

    def killed() -> None:
        api.post(f"/containers/{name}/kill")

    def restarted_with_a_truncated_file() -> None:
        file.write_text(whole[: len(whole) // 2])
        api.post(f"/containers/{name}/restart?t=0")

    def removed() -> None:
        api.delete(f"/containers/{name}?force=1")

    def emptied_and_removed() -> None:
        file.write_text("")
        api.delete(f"/containers/{name}?force=1")

    load = Load(world.daemon.public_url, rest=REST)
    async with load.running(WHO, kept=1, fresh=1):
        for fault in (killed, restarted_with_a_truncated_file, removed, emptied_and_removed):
            with _a_short_gap(f"HAProxy {fault.__name__.replace('_', ' ')}"):
                await asyncio.to_thread(fault)
                await _serves(world, live.commit)
            async with _no_failure(load):
                pass
        async with _no_failure(load):
            newer = await _live(world)
    assert [client.turns for client in load.clients] == [[live.commit, newer.commit]] * 2
    assert (await world.client.ready())["gateway"] == "ok"
    assert file.read_text().count(f"frontend port-{world.daemon.public_port}") == 1
    check_world(world, docker_engine.api())


async def test_haproxy_that_dies_while_deployd_is_down_comes_back_with_the_live_release(
    make_world: MakeWorld, docker_engine: Engine
) -> None:
    world = await make_world()
    await _live(world)
    live = await _live(world)
    await world.daemon.stop()
    api, name = docker_engine.api(), f"deployd-gateway-{world.daemon.instance}"
    with _a_short_gap("HAProxy restarted, without deployd"):
        await asyncio.to_thread(api.post, f"/containers/{name}/restart?t=0")
        await _serves(world, live.commit)
    await asyncio.to_thread(api.delete, f"/containers/{name}?force=1")
    with _a_short_gap("HAProxy removed, then deployd started"):
        await world.daemon.start()
        await _serves(world, live.commit)
    await world.daemon.wait_until_ready()
    check_world(world, docker_engine.api())


async def test_a_release_that_dies_right_after_the_switch_serves_again_at_any_address(
    make_world: MakeWorld, docker_engine: Engine
) -> None:
    world = await make_world(CONFIG.replace('stop_timeout = "2s"', 'stop_timeout = "2s"\nmemory = "64MiB"'))
    first = await _live(world)
    load = Load(world.daemon.public_url, rest=REST)
    async with load.running(WHO, kept=1, fresh=1):
        deploy = await world.push()
        await until(world, deploy, Status.LIVE)
        name = world.daemon.container(deploy.number)
        # As the kernel does when a release uses more memory than it has: its first process gets SIGKILL.
        pid = docker_engine.api().get(f"/containers/{name}/json")["State"]["Pid"]
        with _a_short_gap("the release killed"):
            os.kill(pid, signal.SIGKILL)
            await _serves(world, deploy.commit)
        with _a_short_gap("the release killed by hand"):
            await asyncio.to_thread(docker_engine.api().post, f"/containers/{name}/kill")
            await _serves(world, deploy.commit)
        async with _no_failure(load):
            await finishes(world, deploy)
    assert [client.turns for client in load.clients] == [[first.commit, deploy.commit]] * 2
    check_world(world, docker_engine.api())
