from typing import Any

import pytest

from deployd.errors import RolloutFailed
from deployd.targets.kubernetes.answers import Refused
from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.deployment import AppDeployment
from deployd.targets.kubernetes.notices import told_to
from deployd.targets.kubernetes.others import changed_by_others
from tests.targets.kubernetes.api_server import ApiServer, refuses, says
from tests.targets.kubernetes.apps import IMAGE, a_deploy, an_app
from tests.targets.kubernetes.objects import NEW, OLD, Json, a_deployment

PATH = "/apis/apps/v1/namespaces/ml/deployments/iris"
CPU: Json = {"requests": {"cpu": "10m"}}


def marked(image: str, *, deploy: str = "6", asked: str | None = None, good: str = "", **more: Any) -> Json:
    """A Deployment with our marks."""
    found = a_deployment(image=image, **more)
    found["metadata"]["labels"] = {"io.deployd.instance": "here"}
    found["metadata"]["annotations"] |= {
        "io.deployd.deploy": deploy,
        "io.deployd.image": asked or image,
        "io.deployd.last-good": good,
    }
    return found


def placed(api: Cluster, **settings: Any) -> AppDeployment:
    return AppDeployment(api, an_app(**settings), "here")


def test_a_complete_deployment_holds_its_own_release() -> None:
    present = placed_nowhere().last_good(marked(OLD), a_deploy(7))
    assert present is not None
    assert (present.number, present.image) == (6, OLD)
    assert present.template is not None
    assert present.template["spec"]["containers"][0]["image"] == OLD


@pytest.mark.parametrize("deploy", ["6", "7"])
def test_a_half_made_deployment_holds_the_release_that_it_names_as_good(deploy: str) -> None:
    present = placed_nowhere().last_good(marked(NEW, deploy=deploy, good=f"5 {OLD}", updated=1), a_deploy(7))
    assert present is not None
    assert (present.number, present.image) == (5, OLD)
    assert present.template is not None
    assert present.template["spec"]["containers"][0]["image"] == OLD


def test_an_interrupted_first_deploy_left_no_good_release() -> None:
    assert placed_nowhere().last_good(marked(NEW, deploy="7"), a_deploy(7)) is None
    assert placed_nowhere().last_good(marked(NEW, deploy="6", updated=1), a_deploy(7)) is None


def test_an_adopted_deployment_holds_an_image_without_a_number() -> None:
    present = AppDeployment(Cluster(), an_app(create=False), "here").last_good(a_deployment(image=OLD), a_deploy(7))
    assert present is not None
    assert (present.number, present.image, present.template) == (None, OLD, None)
    restored = marked(OLD, deploy="0")
    again = AppDeployment(Cluster(), an_app(create=False), "here").last_good(restored, a_deploy(7))
    assert again is not None
    assert (again.number, again.image) == (None, OLD)


def test_an_image_that_nobody_asked_for_is_foreign() -> None:
    assert changed_by_others(marked(NEW, asked=OLD), "iris")
    assert not changed_by_others(marked(NEW), "iris")


def test_a_deployment_of_the_same_name_without_our_marks_is_foreign() -> None:
    assert changed_by_others(a_deployment(), "iris")


async def test_a_deployment_to_adopt_is_taken_over_without_a_warning(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says(a_deployment()))
    assert not any("somebody else" in warning for warning in (await placed(api, create=False).examine())[1])


async def test_another_deployds_deployment_is_refused(server: ApiServer, api: Cluster) -> None:
    theirs = marked(OLD)
    theirs["metadata"]["labels"]["io.deployd.instance"] = "elsewhere"
    server.on("GET", PATH, says(theirs))
    with pytest.raises(RolloutFailed, match="but by elsewhere"):
        await placed(api).examine()


async def test_a_deployment_to_adopt_must_be_there(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, refuses(404, "NotFound", "not found"))
    assert await placed(api).examine() == (None, [])
    with pytest.raises(RolloutFailed, match="no Deployment ml/iris"):
        await placed(api, create=False).examine()


async def test_replacing_an_image_set_by_hand_causes_a_warning(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says(marked("by-hand:1", asked=OLD)))
    assert (await placed(api).examine())[1] == ["somebody else set the image to by-hand:1: this deploy replaces it"]


async def test_fields_taken_by_another_manager_are_taken_back(server: ApiServer, api: Cluster) -> None:
    server.on("GET", "/version", says({"minor": "30+"}))
    server.on("GET", "/apis/autoscaling", says({"versions": [{"version": "v2"}]}))
    server.on("GET", "/api/v1/namespaces/ml/services/iris", refuses(404, "NotFound", "no"))
    server.on("GET", "/apis/autoscaling/v2/namespaces/ml/horizontalpodautoscalers/iris", refuses(404, "NotFound", "no"))
    conflict = refuses(409, "Conflict", 'conflict with "kubectl-edit": .spec.strategy')
    found = marked(OLD)
    found["metadata"]["annotations"]["io.deployd.replicas"] = "1"
    server.on("PATCH", PATH, conflict, says(found))
    deployment = placed(api)
    release = await deployment.new_release(a_deploy(7), IMAGE, found)
    told: list[str] = []
    with told_to(told.append):
        await deployment.apply(release, a_deploy(7), found, deployment.last_good(found, a_deploy(7)))
    assert told == [
        'warning: fields of Deployment ml/iris are taken over: conflict with "kubectl-edit": .spec.strategy\n'
    ]
    patches = [request for request in server.asked if request.method == "PATCH"]
    assert [request.query["force"] for request in patches] == ["false", "true"]
    marks = server.bodies[server.asked.index(patches[1])]["metadata"]["annotations"]
    assert marks["io.deployd.last-good"] == f"6 {OLD}"


async def test_a_release_is_not_restored_over_the_image_of_another_writer(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says(marked(NEW, asked=OLD)))
    deployment = placed(api, create=False)
    release = deployment.last_good(marked(OLD), a_deploy(7))
    assert release is not None
    assert await deployment.reapply(release, a_deploy(6)) is None


async def test_a_lost_race_is_tried_again(server: ApiServer, api: Cluster) -> None:
    changed = marked(NEW)
    changed["spec"]["minReadySeconds"] = 5
    server.on("GET", PATH, says(marked(NEW)), says(changed))
    server.on(
        "PATCH", PATH, refuses(422, "Invalid", "test failed"), refuses(409, "Conflict", "modified"), says(marked(OLD))
    )
    deployment = placed(api, create=False)
    release = deployment.last_good(marked(OLD), a_deploy(7))
    assert release is not None
    assert await deployment.reapply(release, a_deploy(6)) == marked(OLD)


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    "words", ["ValidatingAdmissionPolicy 'owners' denied request: no label team", "spec is invalid"]
)
async def test_content_that_is_refused_is_no_lost_race(
    server: ApiServer, api: Cluster, create: bool, words: str
) -> None:
    server.on("GET", PATH, says(marked(NEW)))
    server.on("PATCH", PATH, refuses(422, "Invalid", words))
    deployment = placed(api, create=create)
    release = deployment.last_good(marked(OLD), a_deploy(7))
    assert release is not None
    with pytest.raises(Refused, match=words):
        await deployment.reapply(release, a_deploy(6))
    assert len([request for request in server.asked if request.method == "PATCH"]) == 1


async def test_an_adopted_deployment_that_a_policy_refuses_is_not_somebody_elses(
    server: ApiServer, api: Cluster
) -> None:
    server.on("PATCH", PATH, refuses(422, "Invalid", "a rule of ours says no"))
    server.on("GET", PATH, says(a_deployment(image=OLD)))
    deployment = placed(api, create=False)
    release = await deployment.new_release(a_deploy(7), IMAGE, a_deployment(image=OLD))
    with pytest.raises(Refused, match="a rule of ours says no"):
        await deployment.apply(release, a_deploy(7), a_deployment(image=OLD), None)


def placed_nowhere() -> AppDeployment:
    return AppDeployment(Cluster(), an_app(), "here")


async def test_a_concurrent_change_is_reported_as_such(server: ApiServer, api: Cluster) -> None:
    server.on("PATCH", PATH, refuses(422, "Invalid", "testing value failed"))
    server.on("GET", PATH, says(marked("theirs:1", deploy="6")))
    deployment = placed(api, create=False)
    release = await deployment.new_release(a_deploy(7), IMAGE, a_deployment(image=OLD))
    with pytest.raises(RolloutFailed, match="changed by somebody else at this moment"):
        await deployment.apply(release, a_deploy(7), a_deployment(image=OLD), None)


async def test_a_patch_whose_answer_was_lost_is_recognised_as_ours(server: ApiServer, api: Cluster) -> None:
    ours = marked(IMAGE.reference, deploy="7")
    server.on("PATCH", PATH, refuses(503, "", "the answer is lost"), refuses(422, "Invalid", "testing value failed"))
    server.on("GET", PATH, says(ours))
    deployment = placed(api, create=False)
    release = await deployment.new_release(a_deploy(7), IMAGE, a_deployment(image=OLD))
    assert await deployment.apply(release, a_deploy(7), a_deployment(image=OLD), None) == ours


async def test_only_a_deployment_that_deployd_created_is_deleted(server: ApiServer, api: Cluster) -> None:
    await placed(api, create=False).delete()
    assert server.asked == []
    server.on("GET", PATH, says(a_deployment()), refuses(404, "NotFound", "no"), says(marked(OLD)))
    server.on("DELETE", PATH, says({}))
    for _ in range(3):
        await placed(api).delete()
    assert [request.method for request in server.asked] == ["GET", "GET", "GET", "DELETE"]


SERVICE = "/api/v1/namespaces/ml/services/iris"
SCALER = "/apis/autoscaling/v1/namespaces/ml/horizontalpodautoscalers/iris"
STRANGER: Json = {"metadata": {"name": "iris", "labels": {"app": "theirs"}}}


@pytest.mark.parametrize(
    ("kind", "path", "settings"),
    [
        ("Service", SERVICE, {"service": {"type": "ClusterIP", "port": 80}}),
        ("HorizontalPodAutoscaler", SCALER, {"autoscale": {"min": 1, "max": 2, "cpu": 50}, "resources": CPU}),
    ],
)
async def test_a_foreign_object_of_the_same_name_is_refused_before_any_change(
    server: ApiServer, api: Cluster, kind: str, path: str, settings: Json
) -> None:
    for there in (refuses(404, "NotFound", "no"), says(marked(OLD))):
        server.on("GET", PATH, there)
        server.on("GET", path, says(STRANGER))
        with pytest.raises(RolloutFailed, match=f"{kind} ml/iris was not created by this deployd"):
            await placed(api, **settings).examine()
        server.on("GET", path, refuses(404, "NotFound", "no"))
        await placed(api, **settings).examine()


async def test_a_new_replica_count_in_the_config_is_set_and_recorded_in_one_request(
    server: ApiServer, api: Cluster
) -> None:
    serves_nothing_around(server)
    found = marked(OLD, replicas=3)
    server.on("PATCH", PATH, says(found), says(marked(OLD, replicas=5)))
    deployment = placed(api, replicas=5)
    release = await deployment.new_release(a_deploy(7), IMAGE, found)
    # A deployd that died between its patch and its scaling left no mark: the next one scales.
    answer = await deployment.apply(release, a_deploy(7), found, None)
    assert answer["spec"]["replicas"] == 5
    applied, scaled = (body for body in server.bodies if body is not None)
    assert "io.deployd.replicas" not in applied["metadata"]["annotations"]
    assert scaled == {"metadata": {"annotations": {"io.deployd.replicas": "5"}}, "spec": {"replicas": 5}}


async def test_a_scale_by_hand_stays_while_the_config_is_unchanged(server: ApiServer, api: Cluster) -> None:
    serves_nothing_around(server)
    found = marked(OLD, replicas=9)
    found["metadata"]["annotations"]["io.deployd.replicas"] = "5"
    server.on("PATCH", PATH, says(found))
    deployment = placed(api, replicas=5)
    release = await deployment.new_release(a_deploy(7), IMAGE, found)
    await deployment.apply(release, a_deploy(7), found, None)
    server.on("GET", PATH, says(found))
    await deployment.reapply(release, a_deploy(6))
    assert [body for body in server.bodies if body is not None and "replicas" in body["spec"]] == []


@pytest.mark.parametrize("there", [True, False])
async def test_a_restored_release_gets_the_configured_replicas(server: ApiServer, api: Cluster, there: bool) -> None:
    server.on("GET", PATH, says(marked(NEW)) if there else refuses(404, "NotFound", "no"))
    server.on("PATCH", PATH, says(marked(OLD, replicas=1)), says(marked(OLD, replicas=3)))
    deployment = placed(api, replicas=3)
    release = deployment.last_good(marked(OLD), a_deploy(7))
    assert release is not None
    answer = await deployment.reapply(release, a_deploy(6))
    assert answer is not None
    assert answer["spec"]["replicas"] == 3


def serves_nothing_around(server: ApiServer) -> None:
    """A current server without a Service or an autoscaler."""
    server.on("GET", "/version", says({"minor": "30"}))
    server.on("GET", "/apis/autoscaling", says({"versions": [{"version": "v2"}]}))
    for path in (SERVICE, SCALER.replace("v1", "v2")):
        server.on("GET", path, refuses(404, "NotFound", "no"))


async def test_a_deleted_autoscaler_is_a_difference_and_a_changed_one_is_not(server: ApiServer, api: Cluster) -> None:
    deployment = placed(api, autoscale={"min": 1, "max": 2, "cpu": 50}, resources=CPU)
    found = marked(OLD)
    good = deployment.last_good(found, a_deploy(7))
    assert good is not None
    server.on("PATCH", PATH, says(found))
    server.on("GET", SCALER, says(STRANGER), refuses(404, "NotFound", "no"))
    assert await deployment.edited(found, good, a_deploy(6)) == ""
    assert await deployment.edited(found, good, a_deploy(6)) == "its autoscaler was deleted"
