"""The Kubernetes target on a real cluster."""

import asyncio
import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from deployd.errors import RequestRefused, RolloutFailed
from deployd.targets.kubernetes.candidate import forwarded
from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.target import KubernetesTarget
from deployd.terminal import Size, Terminal
from tests.targets.kubernetes.apps import a_deploy
from tests.targets.kubernetes.world import (
    CRASHES,
    HANGS,
    PORT,
    SERVES,
    RecordedProgress,
    Unpushed,
    World,
    a_config,
)
from tests.testbed.registry import Registry

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

NODE_PORT = {"service": {"type": "NodePort", "port": 80}}


def page(world: World) -> str:
    """What the app answers through its NodePort."""
    port = world.cluster.get("service", "iris", f"--namespace={world.namespace}")["spec"]["ports"][0]["nodePort"]
    with urllib.request.urlopen(f"http://{world.cluster.node_address()}:{port}/", timeout=5) as answer:
        return str(answer.read().decode())


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
    scaler = world.cluster.get("hpa", "iris", f"--namespace={world.namespace}")
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 4)
    with pytest.raises(RequestRefused, match="autoscaler"):
        await world.target.scale(app, 3)
    await world.roll_out(world.app(), 2, world.image("one"))
    assert world.cluster.try_kubectl("get", "hpa", "iris", f"--namespace={world.namespace}").returncode != 0


async def test_the_same_image_again_changes_no_pod(world: World) -> None:
    app = world.app()
    image = world.image("one")
    await world.roll_out(app, 1, image)
    before = world.kubectl("get", "pods", "--output=name")
    await world.roll_out(app, 2, image)
    assert world.kubectl("get", "pods", "--output=name") == before
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
    assert len(world.cluster.get("rs", f"--namespace={world.namespace}")["items"]) == 2
    assert await world.target.serving(app) == 3


BAD: dict[str, tuple[str | None, dict[str, Any], str, float]] = {
    "crash at start": (CRASHES, {}, "last line: no such file: model.bin", 20),
    "never ready": (HANGS, {"progress_deadline": "6s", "ready": {"within": "60s"}}, "progress deadline", 20),
    "unschedulable": (None, {"resources": {"requests": {"cpu": "500"}}}, "Insufficient cpu", 20),
    "cannot be created": (None, {"quota": "pods=2"}, "exceeded quota", 20),
    "root": ("true", {"root": True}, "runAsNonRoot", 20),
}


@pytest.mark.parametrize("trouble", BAD)
async def test_what_cannot_run_is_told_with_its_cause_and_the_old_release_serves(world: World, trouble: str) -> None:
    command, settings, words, within = BAD[trouble]
    settings = dict(settings)
    quota, root = settings.pop("quota", None), settings.pop("root", False)
    good = await world.roll_out(world.app(**NODE_PORT, replicas=2), 1, world.image("one"))
    template = world.deployment()["spec"]["template"]
    if quota:
        world.kubectl("create", "quota", "small", f"--hard={quota}")
        world.kubectl("wait", "quota/small", "--for=jsonpath={.status.used.pods}=2", "--timeout=60s")
    image = world.image("two", command) if command else world.image("two")
    if root:
        image = root_image(world)
    await answering(world)
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        served = group.create_task(served_throughout(world))
        began = loop.time()
        failed, progress = await world.fails(world.app(**NODE_PORT, replicas=2, **settings), 2, image)
        served.cancel()
    assert words in failed.message
    assert progress.began["revert"] - began < within, progress.text
    assert "serving" not in progress.told
    assert good.image is not None
    assert world.running_image() == good.image.reference
    assert world.deployment()["spec"]["template"] == template
    assert await world.target.serving(world.app()) == 1
    assert page(world) == "one"


async def answering(world: World) -> None:
    """Wait until kube-proxy knows a new Service."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(urllib.error.URLError):
                await asyncio.to_thread(page, world)
                return
            await asyncio.sleep(0.1)


async def served_throughout(world: World, answers: Collection[str] = ("one",)) -> None:
    """Ask many times; another answer, or none, fails the test."""
    while True:
        assert await asyncio.to_thread(page, world) in answers
        await asyncio.sleep(0.1)


def root_image(world: World) -> Any:
    from deployd.bringup import images  # noqa: PLC0415

    image = world.image("root")
    images.build(
        world.engine.api(timeout=120),
        f"{image.name}:{image.tag}",
        'FROM deployd-testbed/busybox:latest\nCMD ["httpd", "-f"]\n',
        {},
    )
    return image


async def test_a_deadline_that_passed_before_does_not_fail_the_next_deploy(world: World) -> None:
    app = world.app(replicas=2)
    await world.roll_out(app, 1, world.image("one"))
    failed, progress = await world.fails(world.app(progress_deadline="6s", replicas=2), 2, world.image("two", HANGS))
    assert "progress deadline" in failed.message
    assert "does not serve again yet" not in progress.text
    await world.roll_out(app, 3, world.image("three"))
    assert await world.target.serving(app) == 3


async def test_an_image_that_cannot_be_pulled_is_told_at_once(world: World) -> None:
    app = world.app(**NODE_PORT)
    await world.roll_out(app, 1, world.image("one"))
    before = world.deployment()["spec"]
    await answering(world)
    world.target._registry = Unpushed()  # type: ignore[assignment]
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        served = group.create_task(served_throughout(world))
        began = loop.time()
        failed, progress = await world.fails(app, 2, world.image("two"))
        served.cancel()
    assert "ErrImagePull" in failed.message
    assert "manifest unknown" in failed.message or "not found" in failed.message
    assert progress.began["revert"] - began < 20
    assert world.deployment()["spec"] == before
    assert await world.target.serving(app) == 1


async def test_a_missing_pull_secret_is_told_and_a_right_one_helps(
    world: World, registry_with_password: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not world.cluster.is_here:
        pytest.skip("the nodes of the cluster cannot reach a registry on this machine's loopback")
    monkeypatch.setenv("REGISTRY_PASSWORD", str(registry_with_password.password))
    config = a_config(
        registry_with_password, world.state, username=registry_with_password.username, password="env:REGISTRY_PASSWORD"
    )
    world.registry = registry_with_password
    async with KubernetesTarget(config, world.state / "kubernetes") as target:
        world.target = target
        # The engine that pushed has the image; the cluster must ask the registry.
        image = await target._registry.push(world.image("one"), RecordedProgress(a_deploy(1)).log)
        world.engine.api().delete(f"/images/{image.full_name}")
        failed, _ = await world.fails(world.app(), 1, image)
        assert "ErrImagePull" in failed.message
        assert "no basic auth" in failed.message or "unauthorized" in failed.message
        assert world.cluster.try_kubectl("get", "deployment", "iris", f"--namespace={world.namespace}").returncode != 0
        world.kubectl(
            "create",
            "secret",
            "docker-registry",
            "pull",
            f"--docker-server={registry_with_password.address}",
            f"--docker-username={registry_with_password.username}",
            f"--docker-password={registry_with_password.password}",
        )
        app = world.app(**NODE_PORT, image_pull_secrets=["pull"])
        await world.roll_out(app, 2, image)
        assert await target.serving(app) == 2
        await answering(world)
        # One that is there loses nothing when a later deploy has no secret.
        before = world.deployment()["spec"]
        newer = await target._registry.push(world.image("two"), RecordedProgress(a_deploy(3)).log)
        world.engine.api().delete(f"/images/{newer.full_name}")
        async with asyncio.TaskGroup() as group:
            served = group.create_task(served_throughout(world))
            failed, _ = await world.fails(world.app(**NODE_PORT), 3, newer)
            served.cancel()
        assert "ErrImagePull" in failed.message
        assert world.deployment()["spec"] == before
        assert await target.serving(app) == 2


async def test_a_release_that_sickens_in_the_bake_goes_back(world: World) -> None:
    good = await world.roll_out(world.app(), 1, world.image("one"))
    image = world.image("two")
    progress = RecordedProgress(a_deploy(2, commit=image.tag))
    deploy = a_deploy(2, commit=image.tag)
    rolling = asyncio.create_task(world.target.roll_out(world.app(bake="60s"), deploy, image, progress))
    await until(lambda: "bake" in progress.told)
    await world.sicken(progress)
    with pytest.raises(RolloutFailed, match=r"restarted|stopped being ready"):
        await rolling
    assert good.image is not None
    assert world.running_image() == good.image.reference


async def test_a_gate_that_refuses_brings_the_old_release_back(world: World) -> None:
    app = world.app()
    good = await world.roll_out(app, 1, world.image("one"))
    image = world.image("two")
    progress = RecordedProgress(a_deploy(2))
    progress.refuse = True
    with pytest.raises(RolloutFailed, match="gate refused"):
        await world.target.roll_out(app, a_deploy(2, commit=image.tag), image, progress)
    assert good.image is not None
    assert world.running_image() == good.image.reference


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


async def test_somebody_elses_change_in_mid_rollout_is_left_to_them(world: World) -> None:
    app = world.app(replicas=2)
    await world.roll_out(app, 1, world.image("one"))
    theirs = await pushed(world, "theirs")
    image = world.image("two", HANGS)
    progress = RecordedProgress(a_deploy(2))
    rolling = asyncio.create_task(world.target.roll_out(app, a_deploy(2, commit=image.tag), image, progress))
    await until(lambda: "1 of 2 updated" in progress.text)
    world.kubectl("set", "image", "deployment/iris", f"iris={theirs}")
    with pytest.raises(RolloutFailed, match="somebody else changed the image") as caught:
        await rolling
    assert "kubectl" in caught.value.message
    assert world.running_image() == theirs
    with pytest.raises(RolloutFailed, match="somebody else"):
        await world.target.restore(app, a_deploy(1))
    assert world.running_image() == theirs


async def test_somebody_elses_template_in_mid_rollout_is_left_to_them_until_the_next_deploy(world: World) -> None:
    app = world.app(replicas=2)
    await world.roll_out(app, 1, world.image("one"))
    image = world.image("two", HANGS)
    progress = RecordedProgress(a_deploy(2))
    rolling = asyncio.create_task(world.target.roll_out(app, a_deploy(2, commit=image.tag), image, progress))
    await until(lambda: "1 of 2 updated" in progress.text)
    world.kubectl("set", "env", "deployment/iris", "DEBUG=1")
    with pytest.raises(RolloutFailed, match="somebody else changed the pod template"):
        await rolling
    assert "left as it is" in progress.text
    with pytest.raises(RolloutFailed, match="somebody else changed the pod template"):
        await world.target.restore(app, a_deploy(1))
    container = world.deployment()["spec"]["template"]["spec"]["containers"][0]
    assert container["env"] == [{"name": "DEBUG", "value": "1"}]
    await world.roll_out(app, 3, world.image("three"))
    assert await world.target.serving(app) == 3


async def test_a_paused_deployment_is_refused(world: World) -> None:
    app = world.app()
    await world.roll_out(app, 1, world.image("one"))
    world.kubectl("rollout", "pause", "deployment/iris")
    failed, progress = await world.fails(app, 2, world.image("two"))
    assert "is paused" in failed.message
    assert progress.told == []


async def test_a_deployment_of_somebody_elses_making_is_not_taken_over(world: World) -> None:
    world.kubectl("create", "deployment", "iris", "--image=deployd-testbed/busybox:latest", "--", "sleep", "600")
    failed, _ = await world.fails(world.app(), 1, world.image("one"))
    assert "was not created by this deployd" in failed.message
    assert "create = false" in failed.hint


async def test_an_adopted_deployment_only_gets_images(world: World) -> None:
    await adoptable(world)
    before = world.deployment()
    app = world.app(create=False)
    progress = await world.roll_out(app, 1, world.image("one"))
    assert "warning: container web has no preStop" in progress.text
    after = world.deployment()
    assert progress.image is not None
    assert world.running_image() == progress.image.reference
    template = before["spec"]["template"]
    template["spec"]["containers"][0]["image"] = progress.image.reference
    assert after["spec"]["template"] == template
    assert after["spec"]["replicas"] == before["spec"]["replicas"]
    assert await world.target.serving(app) == 1


async def test_a_failed_adoption_goes_back_to_what_ran_before(world: World) -> None:
    await adoptable(world)
    before = world.running_image()
    failed, _ = await world.fails(world.app(create=False), 1, world.image("one", CRASHES))
    assert "exited with code 3" in failed.message
    assert world.running_image() == before
    await world.target.remove("iris")
    assert "io.deployd.deploy" not in world.deployment()["metadata"]["annotations"]


async def test_removing_an_app_takes_all_of_our_making_away(world: World) -> None:
    app = world.app(**NODE_PORT)
    await world.roll_out(app, 1, world.image("one"))
    await world.target.remove("iris")
    await world.target.remove("iris")
    await until(lambda: "iris" not in world.kubectl("get", "deployments,services,replicasets", "--output=name"))
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


async def pushed(world: World, text: str) -> str:
    """The reference of an image in the registry."""
    image = await world.target._registry.push(world.image(text), RecordedProgress(a_deploy(1)).log)
    return image.reference


async def adoptable(world: World) -> None:
    """A Deployment with a readiness probe, made by hand."""
    labels = {"app": "iris"}
    container = {
        "name": "web",
        "image": await pushed(world, "by hand"),
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
    }
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "iris"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    world.cluster.kubectl("apply", f"--namespace={world.namespace}", "--filename=-", given=json.dumps(manifest))
    await asyncio.to_thread(world.kubectl, "rollout", "status", "deployment/iris", "--timeout=60s")


async def test_a_pod_is_reached_through_the_api_server(world: World) -> None:
    await world.roll_out(world.app(), 1, world.image("one"))
    (pod,) = world.cluster.get("pods", f"--namespace={world.namespace}")["items"]
    async with (
        Cluster(str(world.cluster.kubeconfig)) as api,
        forwarded(api, pod, PORT) as port,
        httpx.AsyncClient(verify=False) as http,
    ):
        answers = await asyncio.gather(*(http.get(f"http://127.0.0.1:{port}/") for _ in range(5)))
    assert [answer.text for answer in answers] == ["one"] * 5


async def until(holds: Any, within: float = 60) -> None:
    """Wait for a state that only polling can show."""
    async with asyncio.timeout(within):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.05)
