"""What the target says and does when a Deployment asks for something other than the last good release."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.config.app import App
from deployd.config.daemon import Config
from deployd.domain import Health, Image
from deployd.errors import RolloutFailed
from deployd.targets.kubernetes.releases import Place, Record, Release, Releases
from deployd.targets.kubernetes.target import KubernetesTarget
from tests.fakes import FakeLog
from tests.targets.kubernetes.api_server import ApiServer, a_list, lines, refuses, says
from tests.targets.kubernetes.apps import a_deploy, an_app
from tests.targets.kubernetes.objects import NEW, OLD, Json, a_deployment, a_pod, a_replica_set, a_template
from tests.targets.kubernetes.test_deployment import PATH, marked

GOOD = Release(6, "c0ffee", "iris", OLD, a_template(OLD))
SCALER = "/apis/autoscaling/v1/namespaces/ml/horizontalpodautoscalers/iris"
PODS = "/api/v1/namespaces/ml/pods"
SETS = "/apis/apps/v1/namespaces/ml/replicasets"
BEFORE = Release(None, "", "iris", OLD, None)


@pytest.fixture
def app(server: ApiServer) -> App:
    return an_app(kubeconfig=str(server.kubeconfig))


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[KubernetesTarget]:
    said = {"server": {"state_dir": str(tmp_path), "instance": "here"}, "registry": {"url": "registry.example.com"}}
    async with KubernetesTarget(Config.model_validate(said), tmp_path / "kubernetes") as target:
        yield target


def remember(tmp_path: Path, *releases: Release, created: bool = True, theirs: str = "") -> None:
    """What an earlier daemon recorded."""
    place = Place(None, None, "ml", "iris", created)
    Releases(tmp_path / "kubernetes").write("iris", Record(place, releases, theirs))


def follows(server: ApiServer, deployment: Json) -> None:
    """Make the rollout complete at once."""
    for path in (PATH.rpartition("/")[0], SETS):
        server.on("GET", path, says(a_list("1", *([deployment] if "deployments" in path else []))))
        server.on("WATCH", path, lines(hold=True))
    for path in ("/api/v1/namespaces/ml/pods", "/api/v1/namespaces/ml/events"):
        server.on("GET", path, says(a_list("1")))
        server.on("WATCH", path, lines(hold=True))


def has_nothing_else(server: ApiServer) -> None:
    """There is neither a Service nor an autoscaler."""
    server.on("GET", "/version", says({"major": "1", "minor": "20"}))
    server.on("GET", "/apis/autoscaling", says({"versions": [{"version": "v1"}]}))
    for path in ("/api/v1/namespaces/ml/services/iris", SCALER):
        server.on("GET", path, refuses(404, "NotFound", "not found"))


async def test_the_last_good_release_serves_while_the_deployment_asks_for_it(
    server: ApiServer, target: KubernetesTarget, app: App, tmp_path: Path
) -> None:
    remember(tmp_path, GOOD)
    server.on("GET", PATH, says(marked(OLD)))
    assert await target.serving(app) == 6


@pytest.mark.parametrize(
    "found",
    [
        marked(NEW, deploy="7", updated=1),
        marked(NEW, deploy="7"),
        marked(OLD, deploy="7"),
        marked(NEW, asked=OLD),
        a_deployment(image=OLD),
        marked(OLD, available=0),
    ],
    ids=["rolling", "rolled", "same image", "by hand", "a namesake", "nothing available"],
)
async def test_nothing_proven_serves_while_the_deployment_asks_for_anything_else(
    server: ApiServer, target: KubernetesTarget, app: App, tmp_path: Path, found: Json
) -> None:
    remember(tmp_path, GOOD)
    server.on("GET", PATH, says(found))
    assert await target.serving(app) is None


async def test_a_deployd_that_lost_its_state_knows_an_unproven_patch(
    server: ApiServer, target: KubernetesTarget, app: App
) -> None:
    server.on("GET", PATH, says(marked(OLD)), says(marked(NEW, deploy="7", good=f"6 {OLD}", updated=1)))
    assert await target.serving(app) == 6
    assert await target.serving(app) is None


async def test_a_restore_asks_for_the_good_template_over_an_unproven_patch(
    server: ApiServer, target: KubernetesTarget, app: App, tmp_path: Path
) -> None:
    remember(tmp_path, GOOD)
    server.on("GET", PATH, says(marked(NEW, deploy="7")))
    server.on("PATCH", PATH, says(marked(OLD)))
    follows(server, marked(OLD))
    has_nothing_else(server)
    await target.restore(app, a_deploy(6))
    sent = next(body for body in server.bodies if body is not None)
    assert sent["spec"]["template"] == GOOD.template
    assert sent["metadata"]["annotations"]["io.deployd.deploy"] == "6"


async def test_a_deployment_taken_over_during_a_rollout_is_left_alone_until_the_next_deploy(
    server: ApiServer, target: KubernetesTarget, app: App, tmp_path: Path
) -> None:
    remember(tmp_path, GOOD, theirs="somebody else changed the pod template")
    server.on("GET", PATH, says(marked(NEW, deploy="7")))
    assert await target.serving(app) is None
    with pytest.raises(RolloutFailed, match="changed the pod template"):
        await target.restore(app, a_deploy(6))


async def test_a_first_deploy_that_somebody_took_over_is_not_swept_away(
    server: ApiServer, target: KubernetesTarget, app: App, tmp_path: Path
) -> None:
    remember(tmp_path, theirs="somebody paused the Deployment")
    server.on("GET", PODS, says(a_list("1")))
    await target.sweep(app, None, FakeLog())
    assert [request.method for request in server.asked] == ["GET"]


async def test_the_release_from_before_an_adopted_apps_first_deploy_comes_back(
    server: ApiServer, target: KubernetesTarget, tmp_path: Path
) -> None:
    app = an_app(kubeconfig=str(server.kubeconfig), create=False)
    remember(tmp_path, BEFORE, created=False)
    server.on("GET", PATH, says(marked(NEW, deploy="1")))
    server.on("PATCH", PATH, says(marked(OLD, deploy="0")))
    server.on("GET", PODS, says(a_list("1")))
    log = FakeLog()
    await target.sweep(app, None, log)
    assert OLD in log.text
    (sent,) = [body for body in server.bodies if body is not None]
    assert {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": OLD} in sent
    server.on("GET", PATH, says(marked(OLD, deploy="0")), refuses(500, "", "asked twice"))
    await target.sweep(app, None, log)
    assert len([body for body in server.bodies if body is not None]) == 1


@pytest.mark.parametrize(
    ("found", "detail"),
    [
        (marked(NEW, asked=OLD), f"somebody else set the image of its Deployment to {NEW}"),
        (marked(NEW, deploy="7"), f"its Deployment asks for {NEW} of deploy 7"),
    ],
    ids=["by hand", "unproven"],
)
async def test_a_deployment_that_asks_for_another_release_is_down(
    server: ApiServer, target: KubernetesTarget, app: App, tmp_path: Path, found: Json, detail: str
) -> None:
    remember(tmp_path, GOOD)
    server.on("GET", PATH, says(found))
    assert await target.health(app, a_deploy(6)) == Health("down", detail)


async def test_a_deleted_deployment_is_down(
    server: ApiServer, target: KubernetesTarget, app: App, tmp_path: Path
) -> None:
    remember(tmp_path, GOOD)
    server.on("GET", PATH, refuses(404, "NotFound", "not found"))
    assert await target.health(app, a_deploy(6)) == Health("down", "its Deployment ml/iris was deleted")


async def test_a_dry_run_of_the_api_server_reveals_an_edit_by_hand(
    server: ApiServer, target: KubernetesTarget, app: App, tmp_path: Path
) -> None:
    remember(tmp_path, GOOD)
    found = marked(OLD)
    server.on("GET", PATH, says(found))
    server.on("PATCH", PATH, says(found))
    assert await target.health(app, a_deploy(6)) == Health()
    assert server.asked[-1].query["dryRun"] == "All"
    would = marked(OLD)
    would["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "MODE", "value": "fast"}]
    server.on("PATCH", PATH, says(would))
    edited = "somebody else changed the pod template of its Deployment"
    assert await target.health(app, a_deploy(6)) == Health("down", edited)
    server.on("PATCH", PATH, refuses(409, "Conflict", 'conflict with "kubectl-edit": .spec.template'))
    edited = 'somebody else changed its Deployment: conflict with "kubectl-edit": .spec.template'
    assert await target.health(app, a_deploy(6)) == Health("down", edited)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (422, "ValidatingAdmissionPolicy 'owners' with binding 'ml' denied request: the label team is required"),
        (409, 'admission webhook "owners.example.com" denied the request: the label team is required'),
        (400, 'admission webhook "owners.example.com" does not support dry run'),
    ],
)
async def test_a_release_is_not_down_because_a_policy_would_refuse_it_today(
    server: ApiServer, target: KubernetesTarget, app: App, tmp_path: Path, status: int, words: str
) -> None:
    """The next deploy may be what the policy asks for, and has to wait until the state of the present one is known."""
    remember(tmp_path, GOOD)
    server.on("GET", PATH, says(marked(OLD)))
    server.on("DRY RUN", PATH, refuses(status, "Invalid", words))
    assert await target.health(app, a_deploy(6)) == Health()


@pytest.mark.parametrize(("by_deployd", "state"), [(False, "down"), (True, "ok")])
async def test_a_scale_to_nothing_is_right_only_when_deployd_was_asked_for_it(
    server: ApiServer, target: KubernetesTarget, app: App, tmp_path: Path, by_deployd: bool, state: str
) -> None:
    remember(tmp_path, GOOD)
    found = marked(OLD, available=0)
    found["spec"]["replicas"] = 0
    found["metadata"]["annotations"] |= {"io.deployd.replicas": "2"} | (
        {"io.deployd.scaled": "0"} if by_deployd else {}
    )
    server.on("GET", PATH, says(found))
    server.on("PATCH", PATH, says(found))
    assert (await target.health(app, a_deploy(6))).state == state


async def test_the_pods_of_a_watched_release_are_known_though_a_webhook_wrote_a_mirror_into_them(
    server: ApiServer, target: KubernetesTarget, app: App, tmp_path: Path
) -> None:
    remember(tmp_path, GOOD)
    server.on("GET", PATH, says(marked(OLD)))
    former, ours = a_replica_set("former", "1", OLD), a_replica_set("ours", "2", OLD)
    server.on("GET", SETS, says(a_list("1", former, ours)))
    pods = [a_pod("iris-former", owner="former", ready=True), a_pod("iris-ours", owner="ours", ready=True)]
    for pod in pods:
        pod["spec"]["containers"] = [{"name": "iris", "image": "mirror.example.com/iris"}]
        pod["status"]["hostIP"] = "127.0.0.1"
    server.on("GET", PODS, says(a_list("1", *pods)))
    live = a_deploy(6, image=Image("registry.example.com/iris", "six", "", "sha256:old"))
    assert [life.name for life in (await target.lives(app, live)).values()] == ["pod iris-ours"]
    async with target.asked(app, live) as candidate:
        assert candidate is not None


async def test_pods_that_are_not_available_are_told(
    server: ApiServer, target: KubernetesTarget, app: App, tmp_path: Path
) -> None:
    remember(tmp_path, GOOD)
    found = marked(OLD, available=0)
    server.on("GET", PATH, says(found))
    server.on("PATCH", PATH, says(found))
    health = await target.health(app, a_deploy(6))
    assert (health.state, "0 available" in health.detail) == ("unready", True)
