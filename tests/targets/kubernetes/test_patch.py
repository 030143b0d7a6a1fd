"""The strategic merge patch that an app brings along for what the config has no key for."""

from typing import Any

import pytest

from deployd.errors import RolloutFailed
from deployd.targets.kubernetes import manifests
from deployd.targets.kubernetes.manifests import Features
from deployd.targets.kubernetes.patch import patched
from tests.targets.kubernetes.apps import IMAGE, an_app


def template(**settings: Any) -> dict[str, Any]:
    return manifests.template(an_app(env={"A": "1"}, **settings), IMAGE, "here", Features(30, autoscaling_v2=True))


def merged(text: str, **settings: Any) -> dict[str, Any]:
    return patched(template(**settings), text.encode(), "k8s/patch.yaml", "iris")


def test_lists_are_merged_by_their_keys_and_everything_else_stays() -> None:
    spec = merged(
        """
apiVersion: apps/v1
kind: Deployment
metadata: {name: whatever}
spec:
  template:
    metadata: {annotations: {team: ml}}
    spec:
      priorityClassName: high
      terminationGracePeriodSeconds: null
      containers:
        - name: iris
          env: [{name: A, value: "2"}, {name: B, value: "3"}]
          volumeMounts: [{name: scratch, mountPath: /scratch}]
        - name: sidecar
          image: proxy:1
      volumes: [{name: scratch, emptyDir: {}}]
"""
    )["spec"]
    app, sidecar = spec["containers"]
    assert app["env"] == [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}]
    assert (app["image"], app["readinessProbe"]) == (
        IMAGE.reference,
        template()["spec"]["containers"][0]["readinessProbe"],
    )
    assert sidecar == {"name": "sidecar", "image": "proxy:1"}
    assert spec["priorityClassName"] == "high"
    assert "terminationGracePeriodSeconds" not in spec
    assert spec["volumes"] == [{"name": "scratch", "emptyDir": {}}]


def test_directives_delete_and_replace() -> None:
    patch = """
spec:
  template:
    spec:
      securityContext: {$patch: replace, fsGroup: 1000}
      containers:
        - name: iris
          livenessProbe: {$patch: delete}
          env: [{$patch: replace}, {name: B, value: "3"}]
          volumeMounts: [{mountPath: /data, $patch: delete}]
"""
    spec = merged(patch, volumes=["pvc/data:/data", "empty:/tmp"])["spec"]
    (app,) = spec["containers"]
    assert spec["securityContext"] == {"fsGroup": 1000}
    assert "livenessProbe" not in app
    assert app["env"] == [{"name": "B", "value": "3"}]
    assert [mount["mountPath"] for mount in app["volumeMounts"]] == ["/tmp"]


def test_the_given_template_is_not_changed() -> None:
    given = template()
    patched(given, b"spec: {template: {spec: {containers: [{name: iris, tty: true}]}}}", "patch.yaml", "iris")
    assert given == template()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a patch"),
        ("[1]", "is not a patch"),
        ("spec: 5", "is not a patch"),
        ("a: [", "is not YAML"),
        ("a: &x [1]\nspec: *x", "has aliases"),
        ("kind: Service\nspec: {template: {}}", "patches a Service"),
        ("spec: {replicas: 5, template: {}}", "changes spec.replicas"),
        ("data: 1\nspec: {template: {}}", "changes data"),
        ("spec: {selector: {}}", "changes spec.selector"),
        ("spec: {template: 5}", "has no spec.template"),
        ("spec: {template: {spec: {containers: [{name: iris, image: x}]}}}", "changes the image of container iris"),
        (
            "spec: {template: {spec: {containers: [{name: iris, $patch: delete}]}}}",
            "changes the image of container iris",
        ),
        (
            "spec: {template: {spec: {containers: [{$patch: replace}, {name: x}]}}}",
            "changes the image of container iris",
        ),
        ("spec: {template: {spec: {containers: [{tty: true}]}}}", "containers: each entry needs name"),
        ("spec: {template: {spec: {$retainKeys: [a]}}}", "unknown directive $retainKeys"),
        ("spec: {template: {spec: {x: {$patch: drop}}}}", "unknown directive $patch: drop"),
        ("spec: {template: {metadata: {labels: {io.deployd.app: x}}}}", "changes the label io.deployd.app"),
        ("spec: {template: {metadata: null}}", "changes the label io.deployd.app"),
        ("spec: {template: {spec: null}}", "changes the image of container iris"),
    ],
)
def test_an_invalid_patch_or_one_that_changes_deployds_own_fields_is_refused(text: str, words: str) -> None:
    with pytest.raises(RolloutFailed) as refused:
        merged(text)
    assert words in refused.value.message
    assert refused.value.message.startswith("k8s/patch.yaml")
    assert refused.value.hint
