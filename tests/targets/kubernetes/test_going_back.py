"""A roll-out that fails on a real cluster: the reason is told, and what served before serves on."""

import asyncio
from typing import Any

import pytest

from deployd.errors import RolloutFailed
from deployd.targets.kubernetes.target import KubernetesTarget
from tests.targets.kubernetes.apps import a_deploy
from tests.targets.kubernetes.node_port import NODE_PORT, answering, page, served_throughout
from tests.targets.kubernetes.world import (
    CRASHES,
    HANGS,
    RecordedProgress,
    Unpushed,
    World,
    a_config,
    until,
)
from tests.testbed.registry import Registry

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

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
        assert not world.cluster.api.exists("deployments", "iris", world.namespace)
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
