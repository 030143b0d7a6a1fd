from dataclasses import replace

import pytest

from deployd.targets.kubernetes.pace import limited_spec
from deployd.targets.kubernetes.symptoms import MANY_RESTARTS
from deployd.targets.kubernetes.verdict import (
    Complete,
    Failed,
    Progressing,
    TakenOver,
    bake_verdict,
    complete,
    new_pods,
    rollout_verdict,
    stale_deadline,
)
from tests.targets.kubernetes.objects import (
    AIM,
    OLD,
    Json,
    a_condition,
    a_deployment,
    a_pod,
    a_replica_set,
    a_view,
    an_event,
    waiting,
)

GAVE_UP = a_condition("Progressing", "False", "ProgressDeadlineExceeded", at="2026-01-01T10:00:00Z")
HALF: Json = {"total": 4, "updated": 1, "available": 3}
CRASHED: Json = {"state": waiting("CrashLoopBackOff"), "last": {"exitCode": 1}}
CRASH_KEY = ("uid-iris-new-1", "crash")


def with_env(deployment: Json) -> Json:
    """After `kubectl set env`."""
    deployment["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "DEBUG", "value": "1"}]
    return deployment


def made_anew(deployment: Json) -> Json:
    """Deleted and made again."""
    deployment["metadata"]["uid"] = "another"
    return deployment


@pytest.mark.parametrize(
    ("deployment", "text"),
    [
        (a_deployment(generation=1), "waiting to see the patch"),
        (a_deployment(observed=1), "waiting for the controller"),
        (a_deployment(**HALF), "1 of 3 updated, 3 available, 3 old"),
        (a_deployment(total=4, updated=3, available=3), "3 of 3 updated, 3 available, 1 old"),
        (a_deployment(available=2), "3 of 3 updated, 2 available"),
    ],
)
def test_a_rollout_goes_on_until_all_pods_are_new_and_available(deployment: Json, text: str) -> None:
    verdict = rollout_verdict(AIM, a_view(deployment), {})
    assert isinstance(verdict, Progressing)
    assert verdict.text.startswith(text)


def test_a_rollout_is_complete_when_all_pods_are_new_and_available() -> None:
    assert rollout_verdict(AIM, a_view(a_deployment()), {}) == Complete("3 of 3 updated, 3 available")
    assert complete(a_deployment())


def test_an_autoscaler_that_raises_the_generation_does_not_fail_the_rollout() -> None:
    scaled = a_deployment(replicas=5, total=5, updated=5, available=5, generation=9, observed=9)
    assert isinstance(rollout_verdict(AIM, a_view(scaled), {}), Complete)


def test_a_missed_deadline_is_reported_with_the_symptom_of_the_pod() -> None:
    pod = a_pod()
    event = an_event("iris-new-1", "Unhealthy", "Readiness probe failed: 503")
    verdict = rollout_verdict(AIM, a_view(a_deployment(**HALF, conditions=[GAVE_UP]), pod, events=(event,)), {})
    assert isinstance(verdict, Failed)
    assert "1 of 3 updated" in verdict.reason
    assert "Readiness probe failed: 503 (pod iris-new-1)" in verdict.reason


def test_a_deadline_missed_before_the_patch_is_ignored() -> None:
    deployment = a_deployment(**HALF, conditions=[GAVE_UP])
    ours = replace(AIM, stale=stale_deadline(deployment))
    assert isinstance(rollout_verdict(ours, a_view(deployment), {}), Progressing)
    newer = a_condition("Progressing", "False", "ProgressDeadlineExceeded", at="2026-01-01T11:00:00Z")
    assert isinstance(rollout_verdict(ours, a_view(a_deployment(**HALF, conditions=[newer])), {}), Failed)


def test_only_the_deadline_is_remembered_as_stale() -> None:
    assert stale_deadline(a_deployment(conditions=[a_condition("Progressing", "True", "ReplicaSetUpdated")])) is None


@pytest.mark.parametrize(
    ("deployment", "words"),
    [
        (None, "deleted"),
        (a_deployment(image="other:1"), "changed the image to other:1"),
        (a_deployment(paused=True), "paused"),
        (with_env(a_deployment(**HALF)), "changed the pod template"),
        (made_anew(a_deployment(generation=1)), "deleted and created again"),
    ],
)
def test_a_change_by_another_writer_is_reported_as_such(deployment: Json | None, words: str) -> None:
    verdict = rollout_verdict(AIM, a_view(deployment), {})
    assert isinstance(verdict, TakenOver)
    assert words in verdict.reason


def test_the_other_writer_is_named() -> None:
    deployment = a_deployment(image="other:1")
    deployment["metadata"]["managedFields"] = [
        {"manager": "deployd", "time": "2026-01-01T12:00:00Z"},
        {"manager": "kubectl-set", "time": "2026-01-01T11:00:00Z"},
    ]
    verdict = rollout_verdict(AIM, a_view(deployment), {})
    assert isinstance(verdict, TakenOver)
    assert "kubectl-set" in verdict.reason


def test_a_fatal_symptom_of_one_pod_fails_the_rollout_at_once() -> None:
    well = a_pod("iris-new-2", ready=True)
    bad = a_pod(state=waiting("ErrImagePull", "manifest unknown"))
    verdict = rollout_verdict(AIM, a_view(a_deployment(**HALF), well, bad), {})
    assert isinstance(verdict, Failed)
    assert verdict.reason == "ErrImagePull: manifest unknown (pod iris-new-1)"


def test_a_suspicious_symptom_is_fatal_only_after_its_grace() -> None:
    view = a_view(a_deployment(**HALF), a_pod(**CRASHED))
    young = rollout_verdict(AIM, view, {CRASH_KEY: 14.9})
    assert isinstance(young, Progressing)
    assert [symptom.key for symptom in young.symptoms] == [CRASH_KEY]
    old = rollout_verdict(AIM, view, {CRASH_KEY: 15.0})
    assert isinstance(old, Failed)
    assert old.symptom is not None
    assert old.symptom.crashed == "iris"


def test_a_container_that_runs_again_after_a_crash_does_not_fail_the_rollout() -> None:
    view = a_view(a_deployment(**HALF), a_pod(state={"running": {}}, last={"exitCode": 1}, restarts=1))
    assert isinstance(rollout_verdict(AIM, view, {CRASH_KEY: 100.0}), Progressing)


def test_many_restarts_need_no_grace() -> None:
    view = a_view(a_deployment(**HALF), a_pod(**CRASHED, restarts=MANY_RESTARTS))
    assert isinstance(rollout_verdict(AIM, view, {}), Failed)


@pytest.mark.parametrize("other", [a_pod("iris-new-2", ready=True), a_pod("iris-new-2")])
def test_one_pod_in_trouble_among_others_waits_for_the_deadline(other: Json) -> None:
    view = a_view(a_deployment(**HALF), a_pod(**CRASHED), other)
    assert isinstance(rollout_verdict(AIM, view, {CRASH_KEY: 100.0}), Progressing)


def test_the_pods_of_the_old_replica_set_are_ignored() -> None:
    old = a_pod("iris-old-1", owner="old", **CRASHED)
    assert isinstance(
        rollout_verdict(AIM, a_view(a_deployment(**HALF), old), {("uid-iris-old-1", "crash"): 99.0}), Progressing
    )


def test_pods_that_cannot_be_created_fail_the_rollout_after_the_grace() -> None:
    quota = a_condition("ReplicaFailure", "True", "FailedCreate", message="exceeded quota")
    view = a_view(a_deployment(total=3, updated=0, available=3, conditions=[quota]))
    assert isinstance(rollout_verdict(AIM, view, {}), Progressing)
    verdict = rollout_verdict(AIM, view, {("d", "create"): 15.0})
    assert isinstance(verdict, Failed)
    assert verdict.reason == "FailedCreate: exceeded quota"


def test_the_new_pods_are_those_of_the_deployments_revision_and_our_image() -> None:
    view = a_view(a_deployment(), a_pod("mine"), a_pod("theirs", owner="old"))
    assert [pod["metadata"]["name"] for pod in new_pods(view, AIM)] == ["mine"]
    stray = replace(view, replica_sets=[a_replica_set("new", "1")])
    assert new_pods(stray, AIM) == []


def test_a_bake_notices_restarts_and_lost_readiness() -> None:
    settled = {"uid-iris-new-1": 0}
    assert bake_verdict(a_view(a_deployment(), a_pod(ready=True)), AIM, settled) is None
    restarted = bake_verdict(a_view(a_deployment(), a_pod(ready=True, restarts=1)), AIM, settled)
    assert isinstance(restarted, Failed)
    assert "restarted" in restarted.reason
    unready = bake_verdict(a_view(a_deployment(), a_pod()), AIM, settled)
    assert isinstance(unready, Failed)
    assert "stopped being ready" in unready.reason


def test_a_bake_ignores_pods_that_came_later_or_terminate() -> None:
    leaving = a_pod("iris-new-2")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    view = a_view(a_deployment(), a_pod("iris-new-9"), leaving)
    assert bake_verdict(view, AIM, {"uid-iris-new-2": 0}) is None


def test_a_bake_notices_a_change_by_another_writer() -> None:
    assert isinstance(bake_verdict(a_view(a_deployment(image=OLD)), AIM, {}), TakenOver)
    assert isinstance(bake_verdict(a_view(None), AIM, {}), TakenOver)


def test_a_canary_whose_rollout_somebody_else_lets_go_on_has_failed() -> None:
    limited, free = a_deployment(**HALF), a_deployment(**HALF)
    limited["spec"] |= limited_spec(1)
    aim = replace(AIM, limited=True)
    view = a_view(limited, a_pod(ready=True))
    assert isinstance(rollout_verdict(aim, view, {}), Progressing)
    assert bake_verdict(view, aim, {}) is None
    for let_go in (rollout_verdict(aim, a_view(free), {}), bake_verdict(a_view(free), aim, {})):
        assert isinstance(let_go, Failed)
        assert "somebody else changed the strategy or minReadySeconds" in let_go.reason
