"""SIGTERM in each step of a deploy: a cut-over finishes, other steps wait for the restart, nothing is left, no request fails.

In a long build SIGKILL too: its container is the engine's to remove.
"""

import asyncio
import random
import signal
import time
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.repository import deliver
from tests.e2e.world import CONFIG
from tests.faults.conftest import MakeWorld
from tests.faults.survivor import GOLDEN, Survivor, surviving
from tests.faults.witness import records

pytestmark = [pytest.mark.engine, pytest.mark.slow]

_STOP_TIMEOUT_S = 10.0
_CONFIG = CONFIG.replace("[github]", f'stop_timeout = "{_STOP_TIMEOUT_S:.0f}s"\n[github]') + GOLDEN
_STEPS = {
    "fetch": {"queued"},
    "build": {"queued"},
    "candidate": {"queued"},
    "ready": {"queued", "live"},  # a candidate that is ready at once may have been switched to when the doors are shut
    "golden": {"queued", "live"},
    "cut-over": {"live"},
    "drain": {"live"},
    "prune": {"live"},
}


@pytest.fixture
async def survivor(make_world: MakeWorld, docker_engine: Engine) -> AsyncIterator[Survivor]:
    """A world with a live release and clients that load it; its daemon can be told at which point to get its signal."""
    async with surviving(await make_world(_CONFIG), docker_engine, random.Random(0)) as here:
        yield here


@pytest.mark.timeout(600)
async def test_a_stop_in_any_step_is_clean_and_the_restart_continues(survivor: Survivor) -> None:
    await survivor.daemon.stop()
    for step, statuses in _STEPS.items():
        ((known,),) = records(survivor.world, "SELECT max(number) FROM deploys")
        await survivor.restart(f"after begin_step {step}", by="SIGTERM", first=known + 1)
        await survivor.settles()  # what the stop before interrupted
        await survivor.push()
        assert await survivor.ends() == 0
        struck_at = survivor.struck_at()
        assert struck_at is not None
        took = time.monotonic() - struck_at
        assert took < _STOP_TIMEOUT_S
        (newest,) = records(survivor.world, "SELECT status, reason FROM deploys ORDER BY number DESC LIMIT 1")
        print(f"stopped in {step}: {took:.1f} s, {newest}")
        assert newest in {(one, "deployd was stopped" if one == "queued" else "") for one in statuses}
        assert records(survivor.world, "SELECT name FROM steps WHERE status = 'running'") == []
    await survivor.restart()
    await survivor.settles()


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
async def test_a_daemon_that_ends_during_a_build_removes_its_containers(
    survivor: Survivor, docker_engine: Engine, by: signal.Signals
) -> None:
    world = survivor.world
    long = f"sleep 61; echo {world.daemon.instance}"
    deploy = await world.push(dockerfile=f"FROM python:3.11-slim-bookworm\nRUN {long}\n")
    await world.says(deploy, "Running in")

    def building() -> list[str]:
        containers = docker_engine.api().get("/containers/json?all=1")
        return [one["Names"][0] for one in containers if long in one["Command"]]

    assert building()
    if by is signal.SIGKILL:
        await survivor.kill()
    else:
        began = time.monotonic()
        await world.daemon.stop()
        assert time.monotonic() - began < _STOP_TIMEOUT_S
        assert world.daemon.process is not None
        assert world.daemon.process.returncode == 0
        assert building() == []
    await survivor.restart()
    await survivor.daemon.wait_until_ready()
    await survivor.push()
    await survivor.settles()
    assert building() == [], "that of the end, or of what was taken up after it"


async def test_a_delivery_during_a_stop_is_stored_or_refused(survivor: Survivor) -> None:
    world = survivor.world
    survivor.change()
    payload = await asyncio.to_thread(world.repository.push, "Change")
    taken: list[str] = []
    enough, stopping = asyncio.Event(), asyncio.Event()

    async def keep_delivering() -> None:
        while True:
            guid = str(uuid.uuid4())
            try:
                answer = await deliver(world.daemon.url, world.daemon.secret, payload, guid)
            except httpx.TransportError:
                if stopping.is_set():
                    return
                raise
            assert answer.status_code in {202, 503}, answer.text
            if answer.status_code == 202:
                taken.append(guid)
                if len(taken) >= 10:
                    enough.set()
            else:
                assert answer.headers["Retry-After"] == "30"

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(keep_delivering())
        await enough.wait()
        stopping.set()
        await world.daemon.stop()
    assert {guid for (guid,) in records(world, "SELECT guid FROM deliveries")} >= set(taken)
    await survivor.restart()
    await survivor.settles()
