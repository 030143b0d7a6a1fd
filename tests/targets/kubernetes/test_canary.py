"""Canaries on a cluster: what is decided and written (a server that answers), and what clients see (a real cluster)."""

import asyncio
import json
import signal
from typing import Any

import pytest

from deployd.bringup.load import Call
from deployd.config.app import App
from deployd.errors import RolloutFailed
from deployd.targets.kubernetes.admission import require_admission
from deployd.targets.kubernetes.canary import Canary, first_pods
from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.deployment import AppDeployment
from deployd.targets.kubernetes.follow import RolloutEnded
from deployd.targets.kubernetes.pace import NEVER_AVAILABLE_S, OWN_PACE
from deployd.targets.kubernetes.releases import Release
from deployd.targets.kubernetes.target import KubernetesTarget
from tests.fakes import FakeLog
from tests.targets.kubernetes.api_server import ApiServer, refuses, says
from tests.targets.kubernetes.apps import a_deploy, an_app
from tests.targets.kubernetes.node_port import NODE_PORT
from tests.targets.kubernetes.objects import NEW, OLD, Json, a_template
from tests.targets.kubernetes.test_deployment import PATH, marked
from tests.targets.kubernetes.test_faults import killable, load_on, until_said
from tests.targets.kubernetes.test_other_writers import adoptable
from tests.targets.kubernetes.test_pace import OWN, a_limited
from tests.targets.kubernetes.world import RecordedProgress, World, a_config, until

WEIGHTS: Json = {"weights": [25, 50, 100], "step": "2s"}
GOOD = Release(6, "c0ffee", "iris", OLD, None)
NEXT = Release(7, "c0ffee", "iris", NEW, None)


def placed(api: Cluster, *, create: bool = False) -> AppDeployment:
    return AppDeployment(api, an_app(create=create, app_gateway=WEIGHTS), "here")


def limited(image: str = NEW, *, asked: str | None = None, deploy: str = "7") -> Json:
    """A Deployment with our marks in a canary."""
    found, kept = marked(image, asked=asked, deploy=deploy), a_limited()
    found["spec"] |= {key: kept["spec"][key] for key in OWN}
    found["metadata"]["annotations"][OWN_PACE] = kept["metadata"]["annotations"][OWN_PACE]
    return found


def back() -> list[Json]:
    """The operations that give a Deployment its own pace back."""
    own = [{"op": "add", "path": f"/spec/{key}", "value": value} for key, value in OWN.items()]
    return [*own, {"op": "remove", "path": f"/metadata/annotations/{OWN_PACE}"}]


def sent(server: ApiServer) -> list[Any]:
    return [body for request, body in zip(server.asked, server.bodies, strict=True) if request.method == "PATCH"]


async def test_the_patch_of_a_release_limits_its_rollout_in_the_same_request(server: ApiServer, api: Cluster) -> None:
    server.on("PATCH", PATH, says(limited()))
    await placed(api).apply(NEXT, a_deploy(7), marked(OLD), GOOD, 1)
    (operations,) = sent(server)
    written = {operation["path"]: operation["value"] for operation in operations if operation["op"] != "test"}
    assert written["/spec/template/spec/containers/0/image"] == NEW
    assert written["/spec/minReadySeconds"] == NEVER_AVAILABLE_S
    assert written["/spec/strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


async def test_going_back_gives_the_own_pace_back_in_the_same_request(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says(limited()))
    server.on("PATCH", PATH, says(marked(OLD)))
    await placed(api).reapply(GOOD, a_deploy(6))
    (operations,) = sent(server)
    assert operations[-4:] == back()
    assert {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": OLD} in operations


async def test_a_deployment_of_ours_goes_back_with_its_whole_pace_in_one_request(
    server: ApiServer, api: Cluster
) -> None:
    found = limited()
    found["metadata"]["annotations"]["io.deployd.replicas"] = "1"
    server.on("GET", PATH, says(found))
    server.on("PATCH", PATH, says(marked(OLD)))
    await placed(api, create=True).reapply(Release(6, "c0ffee", "iris", OLD, a_template(OLD)), a_deploy(6))
    (manifest,) = sent(server)
    assert manifest["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": 0}
    assert manifest["spec"]["progressDeadlineSeconds"] == 600
    assert manifest["spec"]["minReadySeconds"] == OWN["minReadySeconds"]
    assert OWN_PACE not in manifest["metadata"]["annotations"]


async def test_another_image_set_during_a_canary_ends_the_limit(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says(limited("theirs:1", asked=NEW)))
    server.on("PATCH", PATH, says(marked("theirs:1", asked=NEW)))
    assert await placed(api).reapply(GOOD, a_deploy(6)) is None
    assert sent(server) == [back()]


async def test_a_step_is_not_written_over_a_change_by_somebody_else(server: ApiServer, api: Cluster) -> None:
    theirs = limited()
    theirs["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}]
    server.on("GET", PATH, says(theirs))
    with pytest.raises(RolloutEnded, match="changed by somebody else in the canary") as ended:
        await placed(api).go_on(limited(), NEXT, a_deploy(7), GOOD, 2)
    assert not ended.value.ours
    assert sent(server) == []


async def test_a_step_is_tried_again_when_the_status_changes_meanwhile(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says(limited()))
    server.on("PATCH", PATH, refuses(409, "Conflict", "modified"), says(limited()))
    release = Release(7, "c0ffee", "iris", NEW, a_template(NEW))
    await placed(api, create=True).go_on(limited(), release, a_deploy(7), GOOD, 2)
    again = sent(server)[-1]
    assert again["metadata"]["resourceVersion"] == "41"
    assert again["spec"]["strategy"]["rollingUpdate"]["maxSurge"] == 2
    assert json.loads(again["metadata"]["annotations"][OWN_PACE]) == OWN


async def test_there_is_no_canary_for_pods_that_serve_already_for_a_rollback_and_for_no_pods(
    server: ApiServer, api: Cluster
) -> None:
    assert first_pods(placed(api), NEXT, a_deploy(7), marked(OLD, replicas=4), None) == 1
    assert first_pods(placed(api), NEXT, a_deploy(7), marked(NEW, replicas=4), None) is None
    assert first_pods(placed(api), NEXT, a_deploy(7, rollback_to=5), marked(OLD, replicas=4), None) is None
    assert first_pods(placed(api), NEXT, a_deploy(7), marked(OLD, replicas=0), None) is None
    server.on("PATCH", PATH, says(marked(NEW)))
    ours, created = Release(7, "c0ffee", "iris", NEW, a_template(NEW)), placed(api, create=True)
    would = await require_admission(created, ours, a_deploy(7), marked(NEW))
    assert first_pods(created, ours, a_deploy(7), marked(NEW), would) is None
    assert first_pods(created, ours, a_deploy(7), marked(OLD), would) == 1
    assert {request.query["dryRun"] for request in server.asked} == {"All"}


async def test_a_canary_that_was_killed_begins_anew_when_its_deploy_is_tried_again(api: Cluster) -> None:
    assert first_pods(placed(api), NEXT, a_deploy(7), limited(), None) == 1


async def test_a_deployment_with_the_strategy_recreate_is_refused_before_anything_changes(api: Cluster) -> None:
    found = marked(OLD)
    found["spec"]["strategy"] = {"type": "Recreate"}
    with pytest.raises(RolloutFailed, match="the strategy Recreate"):
        first_pods(placed(api), NEXT, a_deploy(7), found, None)


@pytest.mark.parametrize("create", [True, False])
async def test_there_is_a_canary_where_a_webhook_does_not_support_dry_runs(
    server: ApiServer, api: Cluster, create: bool
) -> None:
    words = 'admission webhook "owners.example.com" does not support dry run'
    server.on("DRY RUN", PATH, refuses(400, "BadRequest", words))
    release = Release(7, "c0ffee", "iris", NEW, a_template(NEW) if create else None)
    would = await require_admission(placed(api, create=create), release, a_deploy(7), marked(OLD))
    assert would is None
    assert first_pods(placed(api, create=create), release, a_deploy(7), marked(OLD), would) == 1


@pytest.mark.parametrize(
    ("failure", "verdicts", "message"),
    [
        (
            RolloutEnded("it restarted", ours=True),
            ["at 1 of 4: it restarted"],
            "the canary refused it at 1 of 4: it res",
        ),
        (RolloutFailed("golden refused it"), ["at 1 of 4: golden refused it"], "^golden refused it$"),
        (RolloutEnded("somebody changed it", ours=False), [], "^somebody changed it$"),
    ],
)
async def test_a_failed_canary_is_recorded_with_its_share_unless_somebody_else_ended_it(
    api: Cluster, failure: RolloutFailed, verdicts: list[str], message: str
) -> None:
    progress = RecordedProgress(a_deploy(7))
    canary = Canary(placed(api), a_deploy(7), progress, NEXT, GOOD, limit=1)
    canary._shares = ["1 of 4"]
    with pytest.raises(RolloutFailed, match=message):
        async with canary.recorded():
            raise failure
    assert [result.detail for result in progress.results if result.verdict == "failed"] == verdicts


# On a real cluster.


def pace_of(world: World) -> Json:
    found = world.deployment()
    assert OWN_PACE not in found["metadata"]["annotations"]
    return {key: found["spec"].get(key) for key in OWN}


def items(world: World) -> list[Json]:
    return world.cluster.api.objects("pods", world.namespace)


def pods_of(world: World) -> set[str]:
    return {pod["metadata"]["uid"] for pod in items(world)}


def begin(world: World, number: int, text: str, **gateway: Any) -> tuple[RecordedProgress, asyncio.Task[None]]:
    """A roll-out that goes on beside the test."""
    app, image = world.app(**NODE_PORT, replicas=3, gateway={**WEIGHTS, **gateway}), world.image(text)
    deploy = a_deploy(number, commit=image.tag)
    progress = RecordedProgress(deploy)
    return progress, asyncio.create_task(world.target.roll_out(app, deploy, image, progress))


async def until_told(progress: RecordedProgress, words: str) -> None:
    async with asyncio.timeout(60):
        while words not in progress.text:  # noqa: ASYNC110 - the log is a plain file to others
            await asyncio.sleep(0.05)


@pytest.mark.cluster
@pytest.mark.slow
async def test_a_release_gets_its_shares_one_after_the_other_and_no_request_is_lost(world: World) -> None:
    app = world.app(**NODE_PORT, replicas=3, gateway=WEIGHTS)
    first = await world.roll_out(app, 1, world.image("one"))
    assert "canary" not in first.told
    pace, load = pace_of(world), load_on(world)
    async with load.running(Call("GET", "/"), kept=0, fresh=4):
        progress = await world.roll_out(app, 2, world.image("two"))
    assert load.failures == []
    assert set(load.clients[0].turns) == {"one", "two"}
    steps = ["push", "pushed", "cutting over", "apply", "canary", "proven passed", "asked again", "asked again"]
    assert progress.told == [*steps, "judged", "rollout", "serving"]
    result = progress.results[-1]
    assert (result.name, result.verdict, result.moment) == ("canary", "passed", "canary")
    assert result.detail.startswith("25 % asked, 1 of 4 pods is 25 %; 50 % asked, 3 of 6 pods is 50 %; errors")
    assert result.figures == {"asked_percent": 50, "percent": 50.0, "new_pods": 3, "pods": 6}
    assert pace_of(world) == pace


@pytest.mark.cluster
@pytest.mark.slow
async def test_a_superseded_canary_and_a_bad_one_go_back_to_the_old_pods_which_never_went(world: World) -> None:
    app = world.app(**NODE_PORT, replicas=3, gateway={**WEIGHTS, "step": "30s"})
    await world.roll_out(app, 1, world.image("one"))
    pace, old = pace_of(world), pods_of(world)

    progress, rolling = begin(world, 2, "two", step="60s")
    await until_told(progress, "1 of 4 pods is 25 %")
    rolling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rolling
    assert (await world.target.serving(app), pace_of(world)) == (1, pace)

    progress, rolling = begin(world, 3, "three", step="30s")
    await until_told(progress, "1 of 4 pods is 25 %")
    await world.sicken(progress)
    with pytest.raises(
        RolloutFailed, match=r"the canary refused it at 25 % asked, 1 of 4 pods is 25 %: .*(restarted|ready)"
    ):
        await rolling
    result = progress.results[-1]
    assert (result.name, result.verdict, result.moment) == ("canary", "failed", "canary")
    assert (await world.target.serving(app), pace_of(world)) == (1, pace)
    assert old <= pods_of(world)


@pytest.mark.cluster
@pytest.mark.slow
async def test_a_canary_in_a_deployment_of_somebody_elses_that_was_killed_leaves_no_trace(world: World) -> None:
    await adoptable(world)
    stays = {"name": "web", "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}}}
    theirs = OWN | {"minReadySeconds": 1, "template": {"spec": {"containers": [stays]}}}
    world.kubectl("patch", "deployment", "iris", f"--patch={json.dumps({'spec': theirs})}")
    await asyncio.to_thread(world.kubectl, "rollout", "status", "deployment/iris", "--timeout=60s")
    world.kubectl("expose", "deployment", "iris", "--type=NodePort", "--port=80", "--target-port=8080")
    pace, image, load = pace_of(world), world.running_image(), load_on(world)
    await until(lambda: not any("deletionTimestamp" in pod["metadata"] for pod in items(world)))
    old = pods_of(world)

    app = world.written(create=False, gateway={**WEIGHTS, "step": "60s"})
    async with load.running(Call("GET", "/"), kept=0, fresh=2):
        async with killable(world, app, 1, world.image("one")) as process:
            await until_said(process, "1 of 3 pods is 33 %")
            process.send_signal(signal.SIGKILL)
        assert world.deployment()["spec"]["minReadySeconds"] == NEVER_AVAILABLE_S
        async with KubernetesTarget(a_config(world.registry, world.state), world.state / "kubernetes") as again:
            assert await again.serving(App.model_validate(app)) is None
            await again.sweep(App.model_validate(app), None, FakeLog())
        await until(lambda: pods_of(world) == old)
    assert (pace_of(world), world.running_image(), load.failures) == (pace, image, [])
