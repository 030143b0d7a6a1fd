"""HAProxy dies, is removed, loses its file; the release dies after the switch: the right one serves again within seconds."""

import asyncio
import os
import signal
import time
from collections.abc import Callable

import httpx
import pytest

from deployd.api.answers import DeployAnswer
from deployd.demo.engine import Engine
from deployd.domain import Status
from tests.e2e.world import CONFIG, World
from tests.faults.conftest import MakeWorld
from tests.faults.survivor import check_records
from tests.faults.witness import finishes, until

pytestmark = [pytest.mark.engine, pytest.mark.slow]

_WITHIN_S = 60.0


async def _gap(world: World, commit: str) -> float:
    """Seconds until the app's port answers `commit` five times in a row, each time on a new connection."""
    began, well = time.monotonic(), 0
    async with asyncio.timeout(_WITHIN_S):
        while well < 5:
            try:
                async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
                    answer = await client.get(world.daemon.public_url)
            except httpx.TransportError:
                well = 0
                await asyncio.sleep(0.02)
            else:
                well = well + 1 if answer.text == commit else 0
    return time.monotonic() - began


async def _live(world: World) -> DeployAnswer:
    live = await world.ended(await world.push())
    assert live.status is Status.LIVE, live.reason
    await finishes(world, live)
    return live


async def test_whatever_is_done_to_haproxy_the_live_release_serves_again(
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

    faults: list[Callable[[], None]] = [killed, restarted_with_a_truncated_file, removed, emptied_and_removed]
    for fault in faults:
        await asyncio.to_thread(fault)
        gap = await _gap(world, live.commit)
        print(f"HAProxy {fault.__name__.replace('_', ' ')}: {gap:.1f} s without answers")
        assert gap < 30
    newer = await _live(world)
    assert await _gap(world, newer.commit) < 5
    assert (await world.client.ready())["gateway"] == "ok"
    assert file.read_text().count(f"frontend port-{world.daemon.public_port}") == 1
    check_records(world.daemon.directory / "state" / "deployd.db")


async def test_haproxy_that_dies_while_deployd_is_away_comes_back_with_the_live_release(
    make_world: MakeWorld, docker_engine: Engine
) -> None:
    world = await make_world()
    await _live(world)
    live = await _live(world)
    await world.daemon.stop()
    api, name = docker_engine.api(), f"deployd-gateway-{world.daemon.instance}"
    api.post(f"/containers/{name}/restart?t=0")
    assert await _gap(world, live.commit) < 20
    api.delete(f"/containers/{name}?force=1")
    await world.daemon.start()
    await world.daemon.answering()
    assert await _gap(world, live.commit) < 30
    check_records(world.daemon.directory / "state" / "deployd.db")


async def test_a_release_that_dies_right_after_the_switch_comes_back_at_whatever_address(
    make_world: MakeWorld, docker_engine: Engine
) -> None:
    world = await make_world(CONFIG.replace('stop_timeout = "2s"', 'stop_timeout = "2s"\nmemory = "64MiB"'))
    await _live(world)
    deploy = await world.push()
    await until(world, deploy, Status.LIVE)
    name = f"deployd-{world.app}-{deploy.number}"
    # As the kernel does when a release uses more memory than it has: its first process gets SIGKILL.
    pid = docker_engine.api().get(f"/containers/{name}/json")["State"]["Pid"]
    os.kill(pid, signal.SIGKILL)
    print(f"the release was killed: {await _gap(world, deploy.commit):.1f} s without answers")
    docker_engine.api().post(f"/containers/{name}/kill")
    print(f"the release was killed by hand: {await _gap(world, deploy.commit):.1f} s without answers")
    check_records(world.daemon.directory / "state" / "deployd.db")
