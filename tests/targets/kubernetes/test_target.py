"""The Kubernetes target on a real cluster."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from deployd.errors import RequestRefused
from deployd.targets.kubernetes.candidate import forwarded
from deployd.targets.kubernetes.client import Cluster
from deployd.terminal import Size, Terminal
from tests.targets.kubernetes.apps import a_deploy
from tests.targets.kubernetes.node_port import NODE_PORT, answering, page, served_throughout
from tests.targets.kubernetes.world import (
    CRASHES,
    HANGS,
    PORT,
    SERVES,
    RecordedProgress,
    World,
    until,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


async def test_a_first_deploy_makes_everything_and_serves(world: World) -> None:
    app = world.app(**NODE_PORT, replicas=2)
    assert await world.target.serving(app) is None
    progress = await world.roll_out(app, 1, world.image("one"))
    assert progress.told[:4] == ["push", "pushed", "cutting over", "apply"]
    assert progress.told[-1] == "serving"
    assert "proven passed" in progress.told
    assert "2 of 2 updated, 2 available" in progress.text
    assert await world.target.serving(app) == 1
    await answering(world)
    assert page(world) == "one"
    found = world.deployment()
    assert found["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "deployd"
    assert found["metadata"]["annotations"]["io.deployd.deploy"] == "1"
    assert progress.image is not None
    assert world.running_image() == progress.image.reference


async def test_the_questions_of_a_person_are_answered(world: World) -> None:
    app = world.app(**NODE_PORT, replicas=2)
    with pytest.raises(RequestRefused, match="does not run yet"):
        await world.target.describe(app)
    await world.roll_out(app, 1, world.image("one", "echo begun; trap exit TERM; httpd -f -p 8080 -h /www & wait"))
    described = json.loads(json.dumps(await world.target.describe(app)))
    assert described["rollout"] == "complete", json.dumps(described, indent=1)
    assert len(described["pods"]) == 2
    assert described["addresses"][1].startswith("NodePort ")
    assert any(event["reason"] == "Started" for event in described["events"])
    lines = [line async for line in world.target.output(app, follow=False, tail=10)]
    names = {pod["name"] for pod in described["pods"]}
    assert sorted(lines) == sorted(f"[{name}] begun\n".encode() for name in names)
    for ago, said in ((3600, lines), (-60, [])):
        since = datetime.now(UTC) - timedelta(seconds=ago)
        assert [line async for line in world.target.output(app, follow=False, tail=10, since=since)] == said
    output: list[bytes] = []

    async def take(data: bytes) -> None:
        output.append(data)

    assert await world.target.execute(app, ["sh", "-c", "cat /www/version; echo oops >&2; exit 7"], take) == 7
    assert b"one" in b"".join(output)
    assert b"oops" in b"".join(output)
    assert await world.target.execute(app, ["true"], take) == 0

    terminal = Terminal(Size(33, 99))
    terminal.put(b"exit 4\n")
    script = "until stty size | grep -q 33; do :; done; stty size; read line; $line"
    assert await world.target.execute(app, ["sh", "-c", script], take, terminal) == 4
    assert b"33 99" in b"".join(output)
    # Container runtimes differ: some say the code that a shell would, others that it did not start.
    with contextlib.suppress(RequestRefused):
        assert await world.target.execute(app, ["no-such-program"], take) in {126, 127}
    assert await world.target.ping() == {"cluster": "ok"}


async def test_the_output_of_all_pods_is_followed(world: World) -> None:
    app = world.app(replicas=1)
    await world.roll_out(
        app,
        1,
        world.image("one", "(while sleep 1; do date +%s%N; done) & trap exit TERM; httpd -f -p 8080 -h /www & wait"),
    )
    seen: list[bytes] = []
    async with asyncio.timeout(90):
        async for line in world.target.output(app, follow=True, tail=0):
            seen.append(line)
            if len(seen) == 2:
                await world.target.scale(app, 2)
            if len({text.partition(b"]")[0] for text in seen}) == 2:
                break
    assert len(set(seen)) == len(seen)


async def test_a_scale_by_hand_outlives_the_next_deploy(world: World) -> None:
    app = world.app(replicas=1)
    await world.roll_out(app, 1, world.image("one"))
    await world.target.scale(app, 2)
    await world.roll_out(app, 2, world.image("two"))
    assert world.deployment()["spec"]["replicas"] == 2
    await world.roll_out(world.app(replicas=3), 3, world.image("three"))
    assert world.deployment()["spec"]["replicas"] == 3


async def test_an_autoscaler_comes_and_goes_with_the_config(world: World) -> None:
    app = world.app(autoscale={"min": 2, "max": 4, "cpu": 50}, resources={"requests": {"cpu": "10m"}})
    await world.roll_out(app, 1, world.image("one"))
    scaler = world.cluster.api.get("horizontalpodautoscalers", "iris", world.namespace)
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 4)
    with pytest.raises(RequestRefused, match="autoscaler"):
        await world.target.scale(app, 3)
    await world.roll_out(world.app(), 2, world.image("one"))
    assert not world.cluster.api.exists("horizontalpodautoscalers", "iris", world.namespace)


async def test_the_same_image_again_changes_no_pod(world: World) -> None:
    app = world.app()
    image = world.image("one")
    await world.roll_out(app, 1, image)
    before = world.cluster.api.names("pods", world.namespace)
    await world.roll_out(app, 2, image)
    assert world.cluster.api.names("pods", world.namespace) == before
    assert await world.target.serving(app) == 2


async def test_a_deployd_that_lost_its_state_asks_the_deployment(world: World) -> None:
    app = world.app(replicas=2)
    await world.roll_out(app, 1, world.image("one"))
    (world.state / "kubernetes" / "iris.json").unlink()
    assert await world.target.serving(app) == 1
    image = world.image("two", HANGS)
    progress = RecordedProgress(a_deploy(2))
    rolling = asyncio.create_task(world.target.roll_out(app, a_deploy(2, commit=image.tag), image, progress))
    await until(lambda: "1 of 2 updated" in progress.text)
    (world.state / "kubernetes" / "iris.json").unlink()
    assert await world.target.serving(app) is None
    rolling.cancel()
    await asyncio.wait({rolling})


async def test_a_rollback_brings_the_old_replica_set_back(world: World) -> None:
    app = world.app()
    first = await world.roll_out(app, 1, world.image("one"))
    await world.roll_out(app, 2, world.image("two"))
    assert first.image is not None
    # The config has moved on since; the stored template has not.
    later = world.app(env={"NEW": "1"})
    await world.roll_out(later, 3, first.image, rollback_to=1)
    assert world.running_image() == first.image.reference
    assert len(world.cluster.api.objects("replicasets", world.namespace)) == 2
    assert await world.target.serving(app) == 3


async def test_a_deploy_that_was_outrun_changes_nothing(world: World) -> None:
    app = world.app()
    await world.roll_out(app, 1, world.image("one"))
    before = world.deployment()["metadata"]["generation"]
    progress = RecordedProgress(a_deploy(2))
    progress.outrun = True
    with pytest.raises(asyncio.CancelledError):
        await world.target.roll_out(app, a_deploy(2), world.image("two"), progress)
    assert world.deployment()["metadata"]["generation"] == before


async def test_a_newer_deploy_rolls_over_one_that_was_stopped_in_mid_rollout(world: World) -> None:
    app = world.app(replicas=2)
    good = await world.roll_out(app, 1, world.image("one"))
    image = world.image("two", HANGS)
    progress = RecordedProgress(a_deploy(2))
    rolling = asyncio.create_task(world.target.roll_out(app, a_deploy(2, commit=image.tag), image, progress))
    await until(lambda: "1 of 2 updated" in progress.text)
    rolling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rolling
    assert good.image is not None
    assert world.running_image() == good.image.reference
    assert await world.target.serving(app) == 1
    await world.roll_out(app, 3, world.image("three"))
    assert await world.target.serving(app) == 3


async def test_removing_an_app_takes_all_of_our_making_away(world: World) -> None:
    app = world.app(**NODE_PORT)
    await world.roll_out(app, 1, world.image("one"))
    await world.target.remove("iris")
    await world.target.remove("iris")

    def left() -> list[str]:
        kinds = ("deployments", "services", "replicasets")
        return [name for kind in kinds for name in world.cluster.api.names(kind, world.namespace) if "iris" in name]

    await until(lambda: not left())
    assert await world.target.serving(app) is None


async def test_a_deleted_deployment_is_restored(world: World) -> None:
    app = world.app(replicas=3)
    progress = await world.roll_out(app, 1, world.image("one"))
    before = world.deployment()["spec"]
    world.kubectl("delete", "deployment", "iris")
    assert await world.target.serving(app) is None
    await world.target.restore(app, a_deploy(1, image=progress.image))
    assert await world.target.serving(app) == 1
    assert world.deployment()["spec"] == before


async def test_the_old_pods_serve_on_while_the_port_changes(world: World) -> None:
    settings = {**NODE_PORT, "replicas": 2}
    await world.roll_out(world.app(**settings), 1, world.image("one"))
    await answering(world)
    elsewhere = SERVES.replace("8080", "9090")
    async with asyncio.TaskGroup() as group:
        served = group.create_task(served_throughout(world))
        failed, _ = await world.fails(world.app(**settings, port=9090), 2, world.image("two", CRASHES))
        served.cancel()
    assert "exited with code 3" in failed.message
    third = world.image("three", elsewhere)
    async with asyncio.TaskGroup() as group:
        served = group.create_task(served_throughout(world, {"one", "three"}))
        await world.roll_out(world.app(**settings, port=9090), 3, third)
        served.cancel()
    await until(lambda: page(world) == "three")
    # A rollback brings the old port back with the old template, whatever the config says by now.
    first = await world.target._registry.push(world.image("one"), RecordedProgress(a_deploy(4)).log)
    progress = await world.roll_out(world.app(**settings, port=9090), 4, first, rollback_to=1)
    assert "proven passed" in progress.told
    await until(lambda: page(world) == "one")


async def test_a_deployment_scaled_to_nothing_in_mid_rollout_ends_with_nothing_proven(world: World) -> None:
    app = world.app(replicas=2)
    await world.roll_out(app, 1, world.image("one"))
    image = world.image("two", HANGS)
    progress = RecordedProgress(a_deploy(2))
    rolling = asyncio.create_task(world.target.roll_out(app, a_deploy(2, commit=image.tag), image, progress))
    await until(lambda: "1 of 2 updated" in progress.text)
    world.kubectl("scale", "deployment/iris", "--replicas=0")
    async with asyncio.timeout(60):
        await rolling
    assert "nothing is proven" in progress.text


async def test_a_pod_is_reached_through_the_api_server(world: World) -> None:
    await world.roll_out(world.app(), 1, world.image("one"))
    (pod,) = world.cluster.api.objects("pods", world.namespace)
    async with (
        Cluster(str(world.cluster.kubeconfig)) as api,
        forwarded(api, pod, PORT) as port,
        httpx.AsyncClient(verify=False) as http,
    ):
        answers = await asyncio.gather(*(http.get(f"http://127.0.0.1:{port}/") for _ in range(5)))
    assert [answer.text for answer in answers] == ["one"] * 5
