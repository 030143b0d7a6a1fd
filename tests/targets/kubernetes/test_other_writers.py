"""Deployments of a real cluster to which others write, or which they made."""

import asyncio
import json

import pytest

from deployd.errors import RolloutFailed
from tests.targets.kubernetes.apps import a_deploy
from tests.targets.kubernetes.world import CRASHES, HANGS, RecordedProgress, World, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


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
