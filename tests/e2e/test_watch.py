"""A release that turns bad after the switch, on a real engine under load: the one before has the traffic again within moments."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.api.answers import DeployAnswer
from deployd.api.states import WatchedAnswer
from deployd.bringup.engine import Engine
from deployd.bringup.load import Load
from deployd.engine.client import EngineClient
from deployd.status import Status
from tests.e2e.world import CONFIG, REST, WHO, World, passing_world

pytestmark = [pytest.mark.engine, pytest.mark.slow]

WATCHED = CONFIG.replace("[app.docker]\n", '[app.docker]\nmemory = "64MiB"\n') + '[app.watch]\nfor = "60s"\n'


@pytest.fixture
async def world(tmp_path: Path, docker_engine: Engine, base_images: object) -> AsyncIterator[World]:
    """A running world whose app is watched, with a first release."""
    async with passing_world(tmp_path, docker_engine, WATCHED) as made:
        await made.ended(await made.push())
        yield made


async def _becomes(world: World, deploy: DeployAnswer, status: Status, within: float = 60) -> DeployAnswer:
    """The deploy once it has that status."""
    async with asyncio.timeout(within):
        async for _ in world.client.events(world.app):
            now = await world.client.show(world.app, deploy.number)
            if now.status is status:
                return now
    raise AssertionError


async def _watched(world: World) -> WatchedAnswer:
    """The watch of the live release, once it has begun."""
    async with asyncio.timeout(30):
        async for _ in world.client.events(world.app):
            if (watched := (await world.client.app(world.app)).watched) is not None:
                return watched
    raise AssertionError


async def _why(world: World, deploy: DeployAnswer, sign: str) -> str:
    """What the watch of a release says of a sign, once that is bad."""
    async with asyncio.timeout(30):
        async for _ in world.client.events(world.app):
            for gate in (await world.client.show(world.app, deploy.number)).gates:
                if (gate.name, gate.moment, gate.verdict) == (sign, "after", "failed"):
                    return gate.detail
    raise AssertionError


async def _ends(container: str) -> list[float]:
    """When a container ended, as the engine remembers it."""
    async with EngineClient() as engine:
        events = await engine.past_events({"type": ["container"], "event": ["die"], "container": [container]})
    return [event["timeNano"] / 1e9 for event in events]


async def _live(world: World) -> int | None:
    live = (await world.client.app(world.app)).live
    return live.number if live is not None else None


async def test_a_release_that_leaks_until_it_is_killed_is_returned(world: World) -> None:
    load = Load(world.daemon.public_url, rest=REST)
    async with load.running(WHO):
        bad = await world.ended(await world.push(behaviour="leaks"))
        assert bad.status is Status.LIVE
        bad = await _becomes(world, bad, Status.REVERTED)
        sent = load.sent
        async with asyncio.timeout(30):
            await load.reached(sent + 100)
    assert re.search(r"its container was killed .*64 MiB|requests failed", bad.reason), bad.reason
    assert await _live(world) == 1
    assert len(load.failures) < 100, load.failures[:5]
    assert bad.finished_at is not None
    ends = [at for at in await _ends(world.daemon.container(bad.number)) if at < bad.finished_at.timestamp()]
    assert len(ends) == 1  # it was returned at the first end, and not at a later one
    assert re.search(r"was killed .*64 MiB", await _why(world, bad, "restarts"))
    held = (await world.client.app(world.app)).held
    assert held is not None
    assert held.reason == f"{bad.name} reverted: {bad.reason}"


async def test_a_release_that_errs_after_five_seconds_of_traffic_is_returned(world: World) -> None:
    load = Load(world.daemon.public_url, rest=REST)
    async with load.running(WHO):
        bad = await world.ended(await world.push(behaviour="errs after 5 s"))
        assert bad.status is Status.LIVE
        assert load.failures == []
        bad = await _becomes(world, bad, Status.REVERTED)
        before, sent = len(load.failures), load.sent
        async with asyncio.timeout(30):
            await load.reached(sent + 100)
        assert len(load.failures) - before <= len(load.clients)  # those that were under way
    assert re.match(r"[\d,]+ of [\d,]+ requests failed \(", bad.reason), bad.reason
    errors = next(gate for gate in bad.gates if (gate.name, gate.moment) == ("errors", "after"))
    assert errors.verdict == "failed"
    assert errors.figures["errors"] >= 7
    assert errors.figures["cusum"] >= errors.figures["cusum_limit"]
    print(f"{len(load.failures)} of {load.sent} requests lost; {bad.reason}")


async def test_a_rollback_in_the_watch_is_a_return_that_loses_no_request(world: World) -> None:
    load = Load(world.daemon.public_url, rest=REST)
    async with load.running(WHO):
        second = await world.ended(await world.push())
        assert (await _watched(world)).standby == 1
        sent = load.sent
        async with asyncio.timeout(30):
            await load.reached(sent + 100)
        began = time.monotonic()
        back = await world.client.rollback(world.app)
        took = time.monotonic() - began
        sent = load.sent
        async with asyncio.timeout(30):
            await load.reached(sent + 100)
    print(f"the return took {took:.3f} s")
    assert (back.number, back.status) == (1, Status.LIVE)
    assert load.failures == []
    assert all(client.turns[-1] == back.commit for client in load.clients)
    second = await world.client.show(world.app, second.number)
    assert (second.status, second.reason.startswith("rolled back by hand")) == (Status.REVERTED, True)
    assert "build" not in [step.name for step in second.steps[-3:]]


async def test_a_newer_deploy_in_the_watch_leaves_the_proven_release_standing_by(
    world: World, docker_engine: Engine
) -> None:
    await world.ended(await world.push())
    third = await world.ended(await world.push())
    await world.says(third, f"{world.app}/1 stands by")
    await world.says(third, f"{world.daemon.container(2)} was removed")
    running = {one["Names"][0] for one in docker_engine.api().get("/containers/json")}
    assert f"/{world.daemon.container(1)}" in running
    assert f"/{world.daemon.container(2)}" not in running


async def test_a_restarted_deployd_takes_the_watch_up_again(world: World) -> None:
    second = await world.ended(await world.push())
    await world.daemon.stop()
    await world.daemon.start()
    await world.daemon.wait_until_ready()
    await _watched(world)
    back = await world.client.rollback(world.app)
    assert back.number == 1
    assert (await world.client.show(world.app, second.number)).status is Status.REVERTED
