"""What the Kubernetes target promises when a process dies, on a real cluster: no request is lost."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from deployd.bringup.load import Call, Load
from deployd.domain import Image
from deployd.errors import RolloutFailed
from deployd.targets.kubernetes.target import KubernetesTarget
from tests.targets.kubernetes.apps import a_deploy
from tests.targets.kubernetes.node_port import NODE_PORT
from tests.targets.kubernetes.world import CRASHES, SERVES, RecordedProgress, World, a_config, written_config
from tests.testbed import node_ports
from tests.testbed.cluster import Cluster
from tests.testbed.way import Way, way_to

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

SLOWLY = f"sleep 4; {SERVES}"


def load_on(world: World) -> Load:
    return Load(node_ports.answering(world.cluster, "iris", world.namespace), rest=0.06)


@asynccontextmanager
async def killable(
    world: World, app: dict[str, Any], number: int, image: Image
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A roll-out in a process of its own."""
    order = world.state / f"order-{number}.json"
    said = {
        "config": written_config(world.registry, world.state),
        "state": str(world.state / "kubernetes"),
        "app": app,
        "number": number,
        "image": structs.asdict(image),
    }
    order.write_text(json.dumps(said))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.targets.kubernetes.roller", str(order), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until_said(process: asyncio.subprocess.Process, words: str) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(60):
        async for line in process.stdout:
            if words in line.decode():
                return
    raise AssertionError(f"the roll-out ended before it said {words}")


async def test_no_request_is_lost_in_three_rollouts(world: World) -> None:
    app = world.app(**NODE_PORT, replicas=3)
    await world.roll_out(app, 1, world.image("one"))
    load, number = load_on(world), 1
    # Only what is asked while something rolls counts. The pods' server closes every connection: none could be kept.
    async with load.running(Call("GET", "/"), kept=0, fresh=8):
        while number < 4 or load.sent < 2_000:
            number += 1
            await world.roll_out(app, number, world.image(f"page {number}"))
    assert load.failures == []
    assert {turns for client in load.clients for turns in client.turns} >= {"page 3", "page 4"}


@pytest.mark.parametrize("good", [True, False], ids=["good", "bad"])
async def test_a_roll_out_that_was_killed_is_taken_up_and_ends_rightly(world: World, good: bool) -> None:
    app = world.app(**NODE_PORT, replicas=3)
    await world.roll_out(app, 1, world.image("one"))
    image = world.image("two", SLOWLY if good else CRASHES)
    load = load_on(world)
    async with load.running(Call("GET", "/"), kept=0, fresh=2):
        async with killable(world, world.written(**NODE_PORT, replicas=3), 2, image) as process:
            await until_said(process, "1 of 3 updated")
            process.send_signal(signal.SIGKILL)
        async with KubernetesTarget(a_config(world.registry, world.state), world.state / "kubernetes") as again:
            assert await again.serving(app) is None
            world.target = again
            if good:
                progress = await world.roll_out(app, 2, image)
                assert progress.told[-1] == "serving"
            else:
                failed, _ = await world.fails(app, 2, image)
                assert "exited with code 3" in failed.message
            assert await again.serving(app) == (2 if good else 1)
    assert load.failures == []
    # An old pod that is on its way out may answer once more until every kube-proxy knows: the last answer is nobody's promise.
    assert set(load.clients[0].turns) == ({"one", "two"} if good else {"one"})


async def test_the_good_release_is_restored_over_a_roll_out_that_was_killed_and_is_not_taken_up(world: World) -> None:
    app = world.app(**NODE_PORT, replicas=3)
    first = await world.roll_out(app, 1, world.image("one"))
    template = world.deployment()["spec"]["template"]
    load = load_on(world)
    async with load.running(Call("GET", "/"), kept=0, fresh=2):
        async with killable(world, world.written(**NODE_PORT, replicas=3), 2, world.image("two", SLOWLY)) as process:
            await until_said(process, "1 of 3 updated")
            process.send_signal(signal.SIGKILL)
        async with KubernetesTarget(a_config(world.registry, world.state), world.state / "kubernetes") as again:
            assert await again.serving(app) is None
            await again.restore(app, a_deploy(1, image=first.image))
            assert await again.serving(app) == 1
    assert world.deployment()["spec"]["template"] == template
    assert load.failures == []


@pytest.fixture
def way(cluster: Cluster, tmp_path: Path) -> Iterator[Way]:
    """A way to the cluster that the test may close."""
    with way_to(cluster, tmp_path) as found:
        yield found


@pytest.mark.parametrize("good", [True, False], ids=["good", "bad"])
async def test_an_api_server_that_is_away_for_half_a_minute_changes_nothing(world: World, way: Way, good: bool) -> None:
    world.kubeconfig = way.kubeconfig
    app = world.app(**NODE_PORT, replicas=3)
    await world.roll_out(app, 1, world.image("one"))
    image = world.image("two", SLOWLY if good else CRASHES)
    deploy = a_deploy(2, commit=image.tag)
    progress = RecordedProgress(deploy)
    load = load_on(world)
    async with load.running(Call("GET", "/"), kept=0, fresh=2):
        rolling = asyncio.create_task(world.target.roll_out(app, deploy, image, progress))
        async with asyncio.timeout(60):
            while "1 of 3 updated" not in progress.text:  # noqa: ASYNC110 - the log is a plain file to others
                await asyncio.sleep(0.05)
        await asyncio.to_thread(way.close)
        try:
            await asyncio.sleep(30)
            assert not rolling.done()
        finally:
            await asyncio.to_thread(way.open)
        if good:
            await rolling
        else:
            with pytest.raises(RolloutFailed, match="exited with code 3"):
                await rolling
    # Every rollout begins with these words; here they come again.
    assert "waiting for the API server" in progress.text.partition("1 of 3 updated")[2]
    assert await world.target.serving(app) == (2 if good else 1)
    assert load.failures == []


async def test_two_apps_in_two_namespaces_go_at_once(world: World) -> None:
    with world.cluster.namespace() as other:
        twin = replace(world, namespace=other)
        app, twin_app = world.app(**NODE_PORT), twin.app(**NODE_PORT).model_copy(update={"name": "moons"})

        async def rolled(number: int, image: Image) -> RecordedProgress:
            deploy = structs.replace(a_deploy(number, commit=image.tag), app="moons")
            progress = RecordedProgress(deploy)
            await world.target.roll_out(twin_app, deploy, image, progress)
            return progress

        async with asyncio.timeout(120):
            await asyncio.gather(world.roll_out(app, 1, world.image("one")), rolled(1, twin.image("moon one")))
        before = world.deployment()["spec"]
        # Then one goes on while the other fails.
        async with asyncio.timeout(120):
            (failed, _), good = await asyncio.gather(
                world.fails(app, 2, world.image("two", CRASHES)), rolled(2, twin.image("moon two"))
            )
        assert "exited with code 3" in failed.message
        assert world.deployment()["spec"] == before
        assert await world.target.serving(app) == 1
        assert await world.target.serving(twin_app) == 2
        found = world.cluster.api.get("deployments", "moons", other)
        assert found["metadata"]["labels"]["io.deployd.app"] == "moons"
        assert good.image is not None
        assert found["spec"]["template"]["spec"]["containers"][0]["image"] == good.image.reference
