"""From a signed push to the answer of the app, on a real engine, under load."""

import asyncio

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.leftovers import leftovers
from deployd.bringup.load import Load
from deployd.status import Status
from tests.e2e.world import DOCKERFILE, REST, WHO, World

pytestmark = [pytest.mark.engine, pytest.mark.slow]


async def test_five_swaps_under_load_lose_no_request_and_never_go_back(world: World) -> None:
    first = await world.ended(await world.push())
    assert first.status is Status.LIVE, first.reason
    load, order = Load(world.daemon.public_url), [first.commit]
    async with load.running(WHO, kept=4, fresh=4):
        for _ in range(5):
            deploy = await world.ended(await world.push())
            assert deploy.status is Status.LIVE, deploy.reason
            order.append(deploy.commit)
        async with asyncio.timeout(120):
            await load.reached(10_000)
    assert load.failures == []
    assert [client.turns for client in load.clients] == [order] * 8


async def test_the_old_release_serves_on_when_a_build_or_a_candidate_fails_and_the_reason_is_told(world: World) -> None:
    first = await world.ended(await world.push())
    load = Load(world.daemon.public_url, rest=REST)
    async with load.running(WHO):
        unbuilt = await world.ended(await world.push(dockerfile=DOCKERFILE + "RUN echo no compiler here && exit 7\n"))
        crashed = await world.ended(await world.push(behaviour="crash"))
        unready = await world.ended(await world.push(behaviour="never ready"))
    assert {bad.status for bad in (unbuilt, crashed, unready)} == {Status.FAILED}
    assert "RUN echo no compiler here" in unbuilt.reason
    assert "7" in unbuilt.reason
    assert "no compiler here" in unbuilt.hint
    assert "exited with code 3" in crashed.reason
    assert "the model file is broken" in crashed.hint
    assert "the model file is broken" in await world.log(crashed)
    assert "not ready within 8 s: /: 503" in unready.reason
    assert load.failures == []
    assert [client.turns for client in load.clients] == [[first.commit]] * 4
    assert (await world.client.app(world.app)).held


async def test_a_push_during_a_build_removes_everything_of_the_old_build(world: World, docker_engine: Engine) -> None:
    step = f"sleep 60; echo {world.app}"  # no other test's build has it
    slow = await world.push(dockerfile=f"{DOCKERFILE}RUN {step}\n")
    await world.says(slow, "Running in")
    await world.says(slow, step)
    fast = await world.push()
    assert (await world.ended(slow)).superseded_by == fast.number
    assert (await world.ended(fast)).status is Status.LIVE
    running = docker_engine.api().get("/containers/json?all=1")
    assert not [one for one in running if world.app in one["Command"] and "sleep" in one["Command"]]


async def test_the_last_of_twenty_pushes_in_ten_seconds_goes_live_and_few_are_built(world: World) -> None:
    deploys = []
    for _ in range(20):
        deploys.append(await world.push(dockerfile=DOCKERFILE + "RUN sleep 2\n"))
        await asyncio.sleep(0.2)
    assert (await world.ended(deploys[-1])).status is Status.LIVE
    history = (await world.client.history(world.app)).deploys
    ends = [await world.client.show(world.app, deploy.number) for deploy in history]
    built = [one for one in ends if any(step.name == "build" and step.status == "done" for step in one.steps)]
    assert len(built) <= 2
    assert {one.status for one in ends[1:]} <= {Status.SUPERSEDED, Status.RETIRED}


async def test_a_rollback_uses_the_kept_image_without_a_build(world: World) -> None:
    first = await world.ended(await world.push())
    await world.ended(await world.push())
    load = Load(world.daemon.public_url, rest=REST)
    async with load.running(WHO):
        back = await world.ended(await world.client.rollback(world.app))
        await load.all_asked_again()
    assert (back.status, back.commit) == (Status.LIVE, first.commit)
    assert "build" not in [step.name for step in back.steps]
    assert load.failures == []
    assert all(client.turns[-1] == first.commit for client in load.clients)


async def test_only_what_serves_is_left_when_a_world_is_removed(world: World, docker_engine: Engine) -> None:
    await world.ended(await world.push())
    live = await world.ended(await world.push())
    await world.says(live, "prune took")
    names = [str(thing) for thing in leftovers(docker_engine.api(), world.daemon.instance)]
    containers = {name for name in names if name.startswith("container")}
    assert containers == {
        f"container {world.daemon.container(live.number)}",
        f"container deployd-gateway-{world.daemon.instance}",
    }
