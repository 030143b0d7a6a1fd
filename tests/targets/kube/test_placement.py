from typing import Any

import pytest

from deployd.errors import RolloutFailed
from deployd.targets.kube.client import Cluster
from deployd.targets.kube.placement import Placement
from tests.targets.kube.api_server import ApiServer, refuses, says
from tests.targets.kube.apps import IMAGE, a_deploy, an_app
from tests.targets.kube.objects import NEW, OLD, Json, a_deployment

PATH = "/apis/apps/v1/namespaces/ml/deployments/iris"


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


def placed(api: Cluster, **settings: Any) -> Placement:
    return Placement(api, an_app(**settings), "here")


def test_a_complete_deployment_holds_its_own_release() -> None:
    present = placed_nowhere().present(marked(OLD), a_deploy(7))
    assert present is not None
    assert (present.number, present.image) == (6, OLD)
    assert present.template is not None
    assert present.template["spec"]["containers"][0]["image"] == OLD


@pytest.mark.parametrize("deploy", ["6", "7"])
def test_a_half_made_deployment_holds_the_release_that_it_names_as_good(deploy: str) -> None:
    present = placed_nowhere().present(marked(NEW, deploy=deploy, good=f"5 {OLD}", updated=1), a_deploy(7))
    assert present is not None
    assert (present.number, present.image) == (5, OLD)
    assert present.template is not None
    assert present.template["spec"]["containers"][0]["image"] == OLD


def test_a_first_deploy_that_was_cut_short_left_nothing_good() -> None:
    assert placed_nowhere().present(marked(NEW, deploy="7"), a_deploy(7)) is None
    assert placed_nowhere().present(marked(NEW, deploy="6", updated=1), a_deploy(7)) is None


def test_an_adopted_deployment_holds_an_image_without_a_number() -> None:
    present = Placement(Cluster(), an_app(create=False), "here").present(a_deployment(image=OLD), a_deploy(7))
    assert present is not None
    assert (present.number, present.image, present.template) == (None, OLD, None)
    put_back = marked(OLD, deploy="0")
    again = Placement(Cluster(), an_app(create=False), "here").present(put_back, a_deploy(7))
    assert again is not None
    assert (again.number, again.image) == (None, OLD)


def test_an_image_that_nobody_asked_for_is_foreign() -> None:
    placement = placed_nowhere()
    assert placement.is_foreign(marked(NEW, asked=OLD), "iris")
    assert not placement.is_foreign(marked(NEW), "iris")


def test_a_namesake_without_our_marks_is_foreign() -> None:
    assert placed_nowhere().is_foreign(a_deployment(), "iris")


async def test_a_deployment_to_adopt_is_taken_over_without_a_warning(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says(a_deployment()))
    assert not any("somebody else" in warning for warning in (await placed(api, create=False).examine())[1])


async def test_another_deployds_deployment_is_refused(server: ApiServer, api: Cluster) -> None:
    theirs = marked(OLD)
    theirs["metadata"]["labels"]["io.deployd.instance"] = "elsewhere"
    server.on("GET", PATH, says(theirs))
    with pytest.raises(RolloutFailed, match="made by elsewhere"):
        await placed(api).examine()


async def test_a_deployment_to_adopt_must_be_there(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, refuses(404, "NotFound", "not found"))
    assert await placed(api).examine() == (None, [])
    with pytest.raises(RolloutFailed, match="no Deployment ml/iris"):
        await placed(api, create=False).examine()


async def test_an_image_set_by_hand_is_warned_of_before_it_is_replaced(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says(marked("by-hand:1", asked=OLD)))
    assert (await placed(api).examine())[1] == ["somebody else set the image to by-hand:1: this deploy replaces it"]


async def test_fields_of_another_manager_are_taken_back(server: ApiServer, api: Cluster) -> None:
    server.on("GET", "/version", says({"minor": "30+"}))
    server.on("GET", "/apis/autoscaling", says({"versions": [{"version": "v2"}]}))
    server.on("GET", "/api/v1/namespaces/ml/services/iris", refuses(404, "NotFound", "no"))
    server.on("GET", "/apis/autoscaling/v2/namespaces/ml/horizontalpodautoscalers/iris", refuses(404, "NotFound", "no"))
    conflict = refuses(409, "Conflict", 'conflict with "kubectl-edit": .spec.strategy')
    found = marked(OLD)
    found["metadata"]["annotations"]["io.deployd.replicas"] = "1"
    server.on("PATCH", PATH, conflict, says(found))
    placement = placed(api)
    release = await placement.plan(a_deploy(7), IMAGE, found)
    await placement.put(release, a_deploy(7), found, placement.present(found, a_deploy(7)))
    patches = [request for request in server.asked if request.method == "PATCH"]
    assert [request.query["force"] for request in patches] == ["false", "true"]
    marks = server.bodies[server.asked.index(patches[1])]["metadata"]["annotations"]
    assert marks["io.deployd.last-good"] == f"6 {OLD}"


async def test_a_release_is_not_put_back_over_somebody_elses_image(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says(marked(NEW, asked=OLD)))
    placement = placed(api, create=False)
    release = placement.present(marked(OLD), a_deploy(7))
    assert release is not None
    assert await placement.put_back(release, a_deploy(6)) is None


async def test_a_race_with_a_status_is_tried_again(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says(marked(NEW)))
    server.on(
        "PATCH", PATH, refuses(422, "Invalid", "test failed"), refuses(409, "Conflict", "modified"), says(marked(OLD))
    )
    placement = placed(api, create=False)
    release = placement.present(marked(OLD), a_deploy(7))
    assert release is not None
    assert await placement.put_back(release, a_deploy(6)) == marked(OLD)


def placed_nowhere() -> Placement:
    return Placement(Cluster(), an_app(), "here")


async def test_a_change_at_the_same_moment_is_told_as_such(server: ApiServer, api: Cluster) -> None:
    server.on("PATCH", PATH, refuses(422, "Invalid", "testing value failed"))
    placement = placed(api, create=False)
    release = await placement.plan(a_deploy(7), IMAGE, a_deployment(image=OLD))
    with pytest.raises(RolloutFailed, match="changed by somebody else at this moment"):
        await placement.put(release, a_deploy(7), a_deployment(image=OLD), None)


async def test_only_a_deployment_of_our_making_is_deleted(server: ApiServer, api: Cluster) -> None:
    await placed(api, create=False).delete()
    assert server.asked == []
    server.on("DELETE", PATH, says({}))
    await placed(api).delete()
    assert len(server.asked) == 1
