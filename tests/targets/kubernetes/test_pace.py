"""How far a rollout goes by itself, and how a canary limits it."""

import json
from typing import Any

import pytest

from deployd.errors import RolloutFailed
from deployd.targets.kubernetes.pace import (
    NEVER_AVAILABLE_S,
    NO_DEADLINE_S,
    OWN_PACE,
    is_limited,
    keeps_old_pods,
    limited_spec,
    own_pace,
    pace_patch,
    paced,
    require_rolling,
    share_of,
    told,
)
from tests.targets.kubernetes.objects import Json, a_deployment

OWN: Json = {
    "minReadySeconds": 5,
    "progressDeadlineSeconds": 120,
    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}},
}


def a_free(**spec: Any) -> Json:
    """A Deployment with a pace of its own."""
    found = a_deployment()
    found["spec"] |= OWN | spec
    return found


def a_limited(pods: int = 1) -> Json:
    """The same in a canary."""
    found = a_free(**limited_spec(pods))
    found["metadata"]["annotations"][OWN_PACE] = json.dumps(OWN)
    return found


@pytest.mark.parametrize(
    ("percent", "replicas", "pods"),
    [
        *((5, 1, 1), (50, 1, 1), (99, 1, 1), (5, 4, 1), (25, 3, 1), (25, 4, 1), (25, 10, 3), (5, 20, 1), (25, 20, 7)),
        *((50, 4, 4), (80, 4, 4), (40, 2, 1), (45, 2, 2), (1, 500, 5)),
    ],
)
def test_a_share_is_the_nearest_number_of_pods_at_least_one_and_at_most_half(
    percent: int, replicas: int, pods: int
) -> None:
    assert share_of(percent, replicas) == pods


def test_a_person_is_told_the_share_that_is_asked_and_the_one_that_it_is() -> None:
    assert told(5, 1, 4) == "5 % asked, 1 of 4 pods is 25 %"
    assert told(5, 0, 0) == "5 % asked, and no pods are wanted"


def test_the_api_server_takes_a_limit() -> None:
    assert limited_spec(1)["minReadySeconds"] < limited_spec(1)["progressDeadlineSeconds"] < 2**31


def test_a_limit_keeps_the_deployments_own_pace_through_every_step() -> None:
    assert own_pace(a_free()) == own_pace(a_limited()) == OWN
    kept = pace_patch(a_limited(), 3)[-1]
    assert json.loads(kept["value"]) == OWN
    manifest = {"metadata": {"annotations": {"a": "b"}}, "spec": {"template": {}}}
    again = paced(manifest, a_limited(), 3)
    assert json.loads(again["metadata"]["annotations"][OWN_PACE]) == OWN
    assert again["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 3, "maxUnavailable": 0}
    assert (again["spec"]["minReadySeconds"], again["spec"]["progressDeadlineSeconds"]) == (
        NEVER_AVAILABLE_S,
        NO_DEADLINE_S,
    )
    assert manifest == {"metadata": {"annotations": {"a": "b"}}, "spec": {"template": {}}}


def test_the_own_pace_of_a_deployment_that_somebody_else_made_comes_back_whole() -> None:
    back = {operation["path"]: operation.get("value") for operation in pace_patch(a_limited(), None)}
    assert back == {f"/spec/{key}": value for key, value in OWN.items()} | {f"/metadata/annotations/{OWN_PACE}": None}
    assert pace_patch(a_free(), None) == []


def test_a_min_ready_seconds_that_somebody_set_by_hand_comes_back_after_a_limit() -> None:
    manifest: Json = {"metadata": {"annotations": {}}, "spec": {"template": {}}}
    assert paced(manifest, a_limited(), None)["spec"]["minReadySeconds"] == 5
    assert paced(manifest, a_free(), None) == paced(manifest, None, None) == manifest


def test_a_limit_without_its_annotation_ends_with_the_defaults() -> None:
    found = a_limited()
    del found["metadata"]["annotations"][OWN_PACE]
    assert is_limited(found)
    assert own_pace(found)["minReadySeconds"] == 0
    assert {"op": "add", "path": "/spec/progressDeadlineSeconds", "value": 600} in pace_patch(found, None)
    assert not any(operation["op"] == "remove" for operation in pace_patch(found, None))


def test_a_limit_of_which_somebody_changed_a_part_keeps_the_old_pods_no_longer() -> None:
    assert keeps_old_pods(a_limited())
    for changed in ({"minReadySeconds": 0}, {"strategy": OWN["strategy"]}):
        found = a_limited()
        found["spec"] |= changed
        assert not keeps_old_pods(found)


def test_a_deployment_that_is_recreated_has_no_canary() -> None:
    require_rolling(a_free())
    with pytest.raises(RolloutFailed, match="the strategy Recreate"):
        require_rolling(a_free(strategy={"type": "Recreate"}))
