import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.progress import Progress
from deployd.errors import Unavailable
from tests.testbed import cluster as clusters
from tests.testbed.cluster import Cluster, until
from tests.testbed.images import BUSYBOX
from tests.testbed.registry import Registry, pushed
from tests.testbed.strays import strays
from tests.testbed.way import way_to

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("the test bed's cluster")]

SERVE = "mkdir -p /www && echo hello > /www/index.html && httpd -f -v -p 8080 -h /www"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
API = "https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT"
ASK_THE_API = f'wget -q -O - --no-check-certificate --header "Authorization: Bearer $(cat {TOKEN})" {API}'


def deployment(name: str, image: str) -> dict[str, Any]:
    """Two pods of a web server with a readiness probe."""
    container = {
        "name": "web",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", f"trap exit TERM; {SERVE} & wait"],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
        },
    }


def service(name: str) -> dict[str, Any]:
    """A NodePort in front of the deployment of that name."""
    spec = {"type": "NodePort", "selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace that these tests share."""
    with cluster.namespace() as name:
        yield name


@pytest.fixture(scope="module")
def apply(cluster: Cluster, namespace: str) -> Callable[..., None]:
    """Apply objects in that namespace."""

    def apply(*objects: dict[str, Any]) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        cluster.kubectl("apply", f"--namespace={namespace}", "--filename=-", given=json.dumps(listed))

    return apply


@pytest.fixture(scope="module")
def web(cluster: Cluster, namespace: str, apply: Callable[..., None], base_images: Engine, registry: Registry) -> str:
    """The name of a deployment whose pods are ready, with a NodePort service of the same name."""
    image = pushed(base_images, registry, BUSYBOX)
    apply(deployment("web", image), service("web"))
    cluster.kubectl("rollout", "status", "deployment/web", f"--namespace={namespace}", "--timeout=90s")
    return "web"


def waiting_reasons(cluster: Cluster, namespace: str) -> set[str]:
    pods = cluster.api.objects("pods", namespace)
    states = [status["state"] for pod in pods for status in pod["status"].get("containerStatuses", [])]
    return {state["waiting"]["reason"] for state in states if "waiting" in state}


def test_pods_become_ready_and_answer_through_a_node_port(cluster: Cluster, namespace: str, web: str) -> None:
    port = cluster.api.get("services", web, namespace)["spec"]["ports"][0]["nodePort"]
    address = f"http://{cluster.node_address()}:{port}/"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(address, timeout=5) as response:
                return bool(response.read() == b"hello\n")
        except OSError:
            return False

    until(answers, within=30)


def test_exec_and_logs_reach_a_pod(cluster: Cluster, namespace: str, web: str) -> None:
    here = f"--namespace={namespace}"
    name = cluster.kubectl("exec", here, f"deployment/{web}", "--", "hostname").strip()
    assert name in cluster.kubectl("get", "pods", here, "--output=name")
    refused = cluster.try_kubectl("exec", here, f"deployment/{web}", "--", "sh", "-c", "exit 7")
    assert "exit code 7" in refused.stderr
    until(lambda: "response:200" in cluster.kubectl("logs", here, name), within=30)


def test_an_image_that_is_not_there_is_told_and_the_old_pods_stay_ready(
    cluster: Cluster, namespace: str, web: str
) -> None:
    here = f"--namespace={namespace}"
    cluster.kubectl("set", "image", f"deployment/{web}", "web=127.0.0.1:1/nothing:here", here)
    until(lambda: bool(waiting_reasons(cluster, namespace) & {"ErrImagePull", "ImagePullBackOff"}), within=60)
    assert cluster.api.get("deployments", web, namespace)["status"]["readyReplicas"] == 2
    cluster.kubectl("rollout", "undo", f"deployment/{web}", here)
    cluster.kubectl("rollout", "status", f"deployment/{web}", here, "--timeout=90s")


def test_a_service_account_may_do_what_its_role_says_and_no_more(
    cluster: Cluster, namespace: str, apply: Callable[..., None], web: str
) -> None:
    here = f"--namespace={namespace}"
    pods = f"/api/v1/namespaces/{namespace}/pods"
    ask = ["exec", here, f"deployment/{web}", "--", "sh", "-c"]
    assert "403" in cluster.try_kubectl(*ask, ASK_THE_API + pods).stderr
    cluster.kubectl("create", "role", "reader", "--verb=list", "--resource=pods", here)
    cluster.kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace}:default", here)
    until(lambda: cluster.try_kubectl(*ask, ASK_THE_API + pods).returncode == 0, within=30)
    assert json.loads(cluster.kubectl(*ask, ASK_THE_API + pods))["kind"] == "PodList"
    assert "403" in cluster.try_kubectl(*ask, f"{ASK_THE_API}/api/v1/namespaces/{namespace}/secrets").stderr


def test_a_namespace_goes_with_its_test(cluster: Cluster) -> None:
    with cluster.namespace() as name:
        assert cluster.api.get("namespaces", name)["status"]["phase"] == "Active"
    until(lambda: not cluster.api.exists("namespaces", name), within=90)


def test_an_object_without_an_owner_is_found(cluster: Cluster, namespace: str, apply: Callable[..., None]) -> None:
    labels = {"app.kubernetes.io/managed-by": "deployd"}
    named, stray = (
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}} for name in "ab"
    )
    owner = deployment("owner", BUSYBOX)
    owner["spec"]["replicas"] = 0
    reference = {"secretKeyRef": {"name": "a", "key": "TOKEN"}}
    owner["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "TOKEN", "valueFrom": reference}]
    apply(named, stray, owner)
    assert strays(cluster, namespace) == ["Secret b"]
    cluster.api.delete("secrets", "b", namespace)
    assert strays(cluster, namespace) == []


@pytest.mark.parametrize("plugin", [False, True])
def test_objects_are_listed_created_and_deleted(cluster: Cluster, namespace: str, tmp_path: Path, plugin: bool) -> None:
    api = Cluster(with_plugin(cluster, tmp_path), cluster.client, None).api if plugin else cluster.api
    before = api.names("secrets", namespace)
    for name, label in (("one", "a"), ("two", "b")):
        api.create("secrets", {"metadata": {"name": name, "labels": {"it": label}}}, namespace)
    assert [found["kind"] for found in api.objects("secrets", namespace, "it=a")] == ["Secret"]
    assert api.names("secrets", namespace, "it in (a, b)") == ["one", "two"]
    with pytest.raises(Unavailable, match="already exists"):
        api.create("secrets", {"metadata": {"name": "one"}}, namespace)
    api.delete("secrets", "one", namespace)
    assert not api.exists("secrets", "one", namespace)
    with pytest.raises(Unavailable, match="not found"):
        api.get("secrets", "one", namespace)
    assert api.get("secrets", "two", namespace)["metadata"]["labels"] == {"it": "b"}
    api.delete("secrets", "two", namespace, at_once=True)
    assert api.names("secrets", namespace) == before


def with_plugin(cluster: Cluster, directory: Path) -> Path:
    """A kubeconfig that gets its token from a plugin, as those of the clouds do."""
    found = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json"))
    user = found["users"][0]["user"]
    status = {"token": user.pop("token", None)}
    if status["token"] is None:
        pytest.skip("the cluster's user has no token")
    kind = {"apiVersion": "client.authentication.k8s.io/v1beta1", "kind": "ExecCredential"}
    user["exec"] = {
        "apiVersion": kind["apiVersion"],
        "command": "echo",
        "args": [json.dumps(kind | {"status": status})],
    }
    path = directory / "kubeconfig"
    path.write_text(json.dumps(found))
    path.chmod(0o600)
    return path


def test_a_way_to_the_api_server_can_be_taken_away_and_given_back(cluster: Cluster, tmp_path: Path) -> None:
    with way_to(cluster, tmp_path) as way:
        there = Cluster(way.kubeconfig, cluster.client, None)
        assert there.kubectl("get", "nodes", "--output=name") == cluster.kubectl("get", "nodes", "--output=name")
        way.close()
        assert there.try_kubectl("get", "nodes").returncode != 0
        assert cluster.try_kubectl("get", "nodes").returncode == 0
        way.open()
        assert there.try_kubectl("get", "nodes").returncode == 0


@pytest.mark.slow
def test_a_part_that_has_ended_is_started_again_and_the_rest_left_alone(cluster: Cluster) -> None:
    if cluster.parts is None:
        pytest.skip("the cluster is not ours to stop")
    # A moment without a scheduler delays the tests of other workers, and no more.
    before = (cluster.parts.state / "kube-apiserver.pid").read_text()
    cluster.parts.stop("kube-scheduler")
    assert not cluster.parts.runs("kube-scheduler")
    assert clusters.cluster(Progress()) == cluster
    assert cluster.parts.runs("kube-scheduler")
    assert (cluster.parts.state / "kube-apiserver.pid").read_text() == before
