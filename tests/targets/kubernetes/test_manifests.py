import pytest

from deployd.targets.kubernetes import manifests
from deployd.targets.kubernetes.manifests import Features
from tests.targets.kubernetes.apps import COMMIT, DIGEST, IMAGE, a_deploy, an_app

OLD_SERVER, NEW_SERVER = Features(minor=20, autoscaling_v2=False), Features(minor=33, autoscaling_v2=True)


def test_the_template_runs_the_image_by_digest_without_root() -> None:
    pod = manifests.template(an_app(env={"B": "2", "A": "1"}), IMAGE, "here", NEW_SERVER)["spec"]
    (container,) = pod["containers"]
    assert container["image"] == f"registry.example.com/iris@{DIGEST}"
    assert container["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    assert pod["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}, "runAsNonRoot": True}
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert pod["automountServiceAccountToken"] is False


def test_no_service_of_the_namespace_sets_variables_in_the_pod() -> None:
    assert manifests.template(an_app(), IMAGE, "here", NEW_SERVER)["spec"]["enableServiceLinks"] is False


def test_root_is_allowed_only_when_asked_for() -> None:
    pod = manifests.template(an_app(allow_root=True), IMAGE, "here", NEW_SERVER)["spec"]
    assert "runAsNonRoot" not in pod["securityContext"]
    assert "securityContext" not in pod["containers"][0]


def test_the_template_of_two_deploys_of_one_image_is_equal() -> None:
    first, second = (
        manifests.deployment(
            an_app(), a_deploy(number), manifests.template(an_app(), IMAGE, "here", NEW_SERVER), "here"
        )
        for number in (7, 8)
    )
    assert first["spec"] == second["spec"]
    assert first["metadata"]["annotations"] != second["metadata"]["annotations"]


def test_the_deployment_is_annotated_with_the_deploy() -> None:
    marks = manifests.annotations(a_deploy(7), "image", "6 earlier")
    assert marks == {
        "io.deployd.deploy": "7",
        "io.deployd.commit": COMMIT,
        "io.deployd.image": "image",
        "io.deployd.last-good": "6 earlier",
        "kubernetes.io/change-cause": f"deployd iris/7: {COMMIT[:12]} Grow a deeper tree",
    }


def test_a_commit_subject_cannot_break_the_change_cause() -> None:
    cause = manifests.annotations(a_deploy(subject="a\nb" + "x" * 500), "image")["kubernetes.io/change-cause"]
    assert "\n" not in cause
    assert len(cause) < 300


def test_replicas_are_never_applied() -> None:
    template = manifests.template(an_app(), IMAGE, "here", NEW_SERVER)
    assert "replicas" not in manifests.deployment(an_app(replicas=4), a_deploy(), template, "here")["spec"]


def test_the_probes_gate_the_traffic() -> None:
    app = an_app(port=8080, app_ready={"path": "/ready", "within": "90s"})
    container = manifests.template(app, IMAGE, "here", NEW_SERVER)["spec"]["containers"][0]
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": 8080}
    assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] == 90
    assert "tcpSocket" in container["livenessProbe"]


def test_the_open_inference_protocol_has_a_liveness_path_of_its_own() -> None:
    container = manifests.template(an_app(), IMAGE, "here", NEW_SERVER)["spec"]["containers"][0]
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"


@pytest.mark.parametrize(
    ("features", "action"),
    [(OLD_SERVER, {"exec": {"command": ["sleep", "5"]}}), (NEW_SERVER, {"sleep": {"seconds": 5}})],
)
def test_a_terminating_pod_serves_until_the_proxies_have_dropped_it(
    features: Features, action: dict[str, object]
) -> None:
    pod = manifests.template(an_app(), IMAGE, "here", features)["spec"]
    assert pod["containers"][0]["lifecycle"]["preStop"] == action
    assert pod["terminationGracePeriodSeconds"] > 5


def test_a_service_is_made_only_when_asked_for() -> None:
    assert manifests.service(an_app(), "here") is None
    wanted = {"type": "NodePort", "port": 80, "node_port": 30080}
    service = manifests.service(an_app(service=wanted, port=8080), "here")
    assert service is not None
    assert service["spec"] == {
        "type": "NodePort",
        "selector": {"io.deployd.app": "iris"},
        "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP", "nodePort": 30080}],
    }
    assert service["metadata"]["labels"]["io.deployd.instance"] == "here"


def test_the_port_is_read_from_the_template() -> None:
    older = manifests.template(an_app(port=9000), IMAGE, "here", NEW_SERVER)
    older["spec"]["containers"].insert(0, {"name": "sidecar", "image": "proxy:1"})
    assert manifests.port_of(older, "iris", 5000) == 9000


def test_the_port_of_a_pod_that_somebody_else_wrote_is_the_configured_one() -> None:
    assert manifests.port_of({"spec": {"containers": [{"name": "iris"}]}}, "iris", 5000) == 5000


def test_the_autoscaler_speaks_the_version_that_the_server_offers() -> None:
    app = an_app(autoscale={"min": 2, "max": 6, "cpu": 70})
    assert manifests.autoscaler(an_app(), "here", NEW_SERVER) is None
    old, new = manifests.autoscaler(app, "here", OLD_SERVER), manifests.autoscaler(app, "here", NEW_SERVER)
    assert old is not None
    assert new is not None
    assert (old["apiVersion"], old["spec"]["targetCPUUtilizationPercentage"]) == ("autoscaling/v1", 70)
    assert new["apiVersion"] == "autoscaling/v2"
    assert new["spec"]["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}
    assert "/autoscaling/v1/" in manifests.autoscaler_path(app, OLD_SERVER)


def test_paths_name_the_configured_deployment() -> None:
    app = an_app(deployment="iris-prod")
    assert manifests.path(app) == "/apis/apps/v1/namespaces/ml/deployments/iris-prod"
    assert manifests.path(app, "pods", "p") == "/api/v1/namespaces/ml/pods/p"
    assert manifests.collection(app, "replicasets") == "/apis/apps/v1/namespaces/ml/replicasets"


def test_a_pod_gets_what_the_config_says_of_it() -> None:
    app = an_app(
        env={"B": "2"}, env_secrets={"A": "env:A"}, gpus=2, node_selector={"disk": "ssd"}, service_account="iris",
        tolerations=[{"key": "gpu", "value": "yes", "effect": "NoExecute", "seconds": 5}],
        resources={"limits": {"memory": "1Gi"}},
        volumes=["pvc/data:/data:ro", "secret/tls:/tls", "configmap/app:/app", "empty:/tmp", "memory/1Gi:/dev/shm"],
    )  # fmt: skip
    pod = manifests.template(app, IMAGE, "here", NEW_SERVER, "iris-env-1")["spec"]
    (container,) = pod["containers"]
    assert container["env"] == [
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "iris-env-1", "key": "A"}}},
        {"name": "B", "value": "2"},
    ]
    assert container["resources"] == {"limits": {"memory": "1Gi", "nvidia.com/gpu": "2"}}
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("iris", True)
    assert pod["tolerations"] == [
        {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 5}
    ]
    assert container["volumeMounts"][0] == {"name": "volume-0", "mountPath": "/data", "readOnly": True}
    assert [volume for mount, volume in zip(container["volumeMounts"], pod["volumes"], strict=True)] == [
        {"name": "volume-0", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "volume-1", "secret": {"secretName": "tls"}},
        {"name": "volume-2", "configMap": {"name": "app"}},
        {"name": "volume-3", "emptyDir": {}},
        {"name": "volume-4", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
    ]


def test_probes_send_the_host_and_the_headers_that_the_app_wants() -> None:
    app = an_app(app_ready={"host": "iris.example.com", "headers": {"X-A": "1"}})
    container = manifests.template(app, IMAGE, "here", NEW_SERVER)["spec"]["containers"][0]
    headers = [{"name": "Host", "value": "iris.example.com"}, {"name": "X-A", "value": "1"}]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["httpHeaders"] == headers
