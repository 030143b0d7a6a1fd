import pytest

from deployd.errors import RolloutFailed
from deployd.targets.kubernetes import adoption
from tests.targets.kubernetes.objects import NEW, OLD, Json, a_deployment


def two_containers() -> Json:
    deployment = a_deployment(image=OLD)
    deployment["spec"]["template"]["spec"]["containers"].insert(0, {"name": "proxy", "image": "proxy:1"})
    return deployment


def test_a_single_container_needs_no_name() -> None:
    assert adoption.pick_container(a_deployment(), None) == "iris"


@pytest.mark.parametrize(("wanted", "words"), [(None, "containers proxy, iris"), ("web", "no container web")])
def test_an_ambiguous_container_is_refused(wanted: str | None, words: str) -> None:
    with pytest.raises(RolloutFailed, match=words):
        adoption.pick_container(two_containers(), wanted)


def test_the_patch_compares_before_it_sets() -> None:
    operations = adoption.image_patch(two_containers(), "iris", NEW, {"io.deployd.deploy": "7", "a/b~c": "x"})
    assert operations == [
        {"op": "test", "path": "/spec/template/spec/containers/1/name", "value": "iris"},
        {"op": "test", "path": "/spec/template/spec/containers/1/image", "value": OLD},
        {"op": "replace", "path": "/spec/template/spec/containers/1/image", "value": NEW},
        {"op": "add", "path": "/metadata/annotations/io.deployd.deploy", "value": "7"},
        {"op": "add", "path": "/metadata/annotations/a~1b~0c", "value": "x"},
    ]


def test_missing_annotations_are_created() -> None:
    deployment = a_deployment(image=OLD)
    del deployment["metadata"]["annotations"]
    operations = adoption.image_patch(deployment, "iris", NEW, {"k": "v"})
    assert operations[-2:] == [
        {"op": "add", "path": "/metadata/annotations", "value": {}},
        {"op": "add", "path": "/metadata/annotations/k", "value": "v"},
    ]


def test_missing_probes_cause_a_warning() -> None:
    assert [text.partition(":")[0] for text in adoption.warnings(a_deployment(), "iris")] == [
        "container iris has no readinessProbe",
        "container iris has no preStop",
    ]


@pytest.mark.parametrize(
    ("manager", "operation", "told"),
    [
        ("argocd", "Apply", True),
        ("kubectl-client-side-apply", "Update", True),
        ("kubectl", "Apply", True),
        ("kubectl-set", "Update", False),
        ("kubectl-edit", "Update", False),
        ("deployd", "Apply", False),
    ],
)
def test_another_manager_of_the_image_causes_a_warning(manager: str, operation: str, told: bool) -> None:
    deployment = a_deployment()
    image: Json = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"iris"}': {"f:image": {}}}}}}}
    deployment["metadata"]["managedFields"] = [{"manager": manager, "operation": operation, "fieldsV1": image}]
    assert any(manager in text for text in adoption.warnings(deployment, "iris")) is told


def test_every_kind_of_selector_picks_the_pods() -> None:
    deployment = a_deployment()
    deployment["spec"]["selector"]["matchExpressions"] = [
        {"key": "tier", "operator": "In", "values": ["web", "api"]},
        {"key": "track", "operator": "NotIn", "values": ["canary"]},
        {"key": "team", "operator": "Exists"},
        {"key": "old", "operator": "DoesNotExist"},
    ]
    assert adoption.selector_of(deployment) == "app=iris,tier in (web,api),track notin (canary),team,!old"
    del deployment["spec"]["selector"]["matchLabels"]
    assert adoption.selector_of(deployment).startswith("tier in (web,api)")
