"""A commit proven on Kubernetes: the pod (pure), and on a real cluster what is and is not left of it."""

from typing import Any

import httpx
import pytest

from deployd.domain import Deploy
from deployd.errors import RolloutFailed
from deployd.ports.gate import Candidate
from deployd.targets.kubernetes.client import Cluster, Json
from deployd.targets.kubernetes.deployment import AppDeployment
from deployd.targets.kubernetes.proof import PROOF, Proof, pod_of
from tests.fake_target import FakeProgress
from tests.fakes import FakeLog
from tests.targets.kubernetes.api_server import ApiServer, a_list, lines, refuses, says
from tests.targets.kubernetes.apps import IMAGE, a_deploy, an_app
from tests.targets.kubernetes.test_deployment import PATH as DEPLOYMENT
from tests.targets.kubernetes.test_deployment import serves_nothing_around
from tests.targets.kubernetes.test_rollout import MemoryReleases, PushedAlready
from tests.targets.kubernetes.world import CRASHES, RecordedProgress, World


def _template() -> Json:
    web = {"name": "iris", "image": "old", "lifecycle": {"preStop": {}}, "livenessProbe": {"httpGet": {}}}
    return {
        "metadata": {"labels": {"io.deployd.app": "iris", "tier": "web"}, "annotations": {"inject": "yes"}},
        "spec": {"containers": [web, {"name": "proxy", "image": "proxy"}], "terminationGracePeriodSeconds": 35},
    }


def test_the_pod_has_none_of_the_labels_by_which_it_could_get_traffic() -> None:
    pod = pod_of(an_app(), a_deploy(), _template(), "iris", "new", "test")
    assert pod["metadata"]["labels"] == {
        PROOF: "iris",
        "io.deployd.instance": "test",
        "io.deployd.deploy": "7",
        "app.kubernetes.io/managed-by": "deployd",
    }
    assert pod["metadata"]["annotations"] == {"inject": "yes"}


def test_the_pod_runs_the_new_image_once_and_is_gone_soon() -> None:
    template = _template()
    pod = pod_of(an_app(), a_deploy(), template, "iris", "new", "test")
    assert [(one["name"], one["image"]) for one in pod["spec"]["containers"]] == [("iris", "new"), ("proxy", "proxy")]
    assert (pod["spec"]["restartPolicy"], pod["spec"]["terminationGracePeriodSeconds"]) == ("Never", 2)
    assert all("lifecycle" not in one for one in pod["spec"]["containers"])
    assert template == _template()


class Beside(RecordedProgress):
    """Asks what serves while the candidate is proven."""

    def __init__(self, deploy: Deploy) -> None:
        super().__init__(deploy)
        self.serves: tuple[int, str] | None = None

    async def prove(self, candidate: Candidate) -> None:
        if (live := candidate.live) is not None:
            async with httpx.AsyncClient(trust_env=False, verify=False) as http:
                self.serves = live.number, (await http.get(live.address)).text
        await super().prove(candidate)


async def _proven(world: World, number: int, image: Any, **settings: Any) -> Beside:
    deploy = a_deploy(number, commit=image.tag, prove=True)
    progress = Beside(deploy)
    await world.target.prove(world.app(**settings), deploy, image, progress)
    return progress


def _left(world: World) -> list[str]:
    """The pods of proofs that nobody has deleted; the kubelet takes its time to end those that were."""
    found = world.cluster.api.objects("pods", world.namespace, PROOF)
    return [pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]]


async def test_a_warning_of_the_cluster_is_in_the_log_of_the_proof(server: ApiServer, api: Cluster) -> None:
    pods, events = "/api/v1/namespaces/ml/pods", "/api/v1/namespaces/ml/events"
    meta = {"uid": "u", "name": "iris-proof-7-x", "resourceVersion": "2"}
    ended = {"metadata": meta, "status": {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}}
    server.on("GET", DEPLOYMENT, refuses(404, "NotFound", "no"))
    serves_nothing_around(server)
    for path in (pods, events):
        server.on("GET", path, says(a_list("1")))
        server.on("WATCH", path, lines(hold=True))
    server.on("WATCH", pods, lines(("ADDED", ended), hold=True))
    warned = {"Warning": '299 - "would violate PodSecurity \\"restricted:latest\\": runAsNonRoot != true"'}
    server.on("POST", pods, says({"metadata": meta}, 201, warned))
    server.on("GET", f"{pods}/iris-proof-7-x/log", refuses(404, "NotFound", "no"))
    progress = FakeProgress()
    proof = Proof(AppDeployment(api, an_app(), "here"), a_deploy(7), progress, MemoryReleases(), "here")
    with pytest.raises(RolloutFailed, match="Evicted: low on memory"):
        await proof.run(IMAGE, PushedAlready())  # type: ignore[arg-type]
    assert 'warning: would violate PodSecurity "restricted:latest": runAsNonRoot != true\n' in progress.book.text


@pytest.mark.cluster
@pytest.mark.timeout(300)
async def test_a_commit_is_proven_in_a_pod_that_the_service_does_not_reach_and_nothing_of_it_is_left(
    world: World,
) -> None:
    secret = {"env_secrets": {"TOKEN": "env:PROOF_TOKEN"}}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PROOF_TOKEN", "s3cret-of-the-proof")
        await world.roll_out(world.app(), 1, world.image("one"))
        before = world.deployment()
        progress = await _proven(world, 2, world.image("two"), **secret)
    assert progress.told == ["push", "pushed", "candidate", "proven passed"]
    assert progress.serves == (1, "one")
    assert world.deployment()["metadata"]["generation"] == before["metadata"]["generation"]
    assert await world.target.serving(world.app()) == 1
    assert _left(world) == []
    assert not any(name.startswith("iris-env-") for name in world.cluster.api.names("secrets", world.namespace))


@pytest.mark.cluster
@pytest.mark.timeout(300)
async def test_a_commit_whose_container_crashes_fails_with_its_last_lines_and_a_sweep_removes_what_a_crash_left(
    world: World,
) -> None:
    with pytest.raises(RolloutFailed, match="exited with code 3") as failed:
        await _proven(world, 1, world.image("one", CRASHES))
    assert "no such file: model.bin" in failed.value.hint
    labels = f"{PROOF}=iris,io.deployd.instance=test,io.deployd.deploy=9"
    world.kubectl("run", "left-over", f"--labels={labels}", "--image=none", "--restart=Never")
    log = FakeLog()
    await world.target.sweep(world.app(), 1, log, lambda: 9)
    assert log.text == ""
    await world.target.sweep(world.app(), 1, log)
    assert "the pod left-over of an interrupted proof is removed" in log.text
    assert _left(world) == []
