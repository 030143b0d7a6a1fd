import pytest

from deployd.targets.kubernetes.symptoms import Json, Severity, Symptom, of_creation, of_pod
from tests.targets.kubernetes.objects import a_condition, a_deployment, a_pod, an_event, waiting

UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes: Insufficient cpu",
}


def worst(pod: Json, *events: Json) -> Symptom:
    return of_pod(pod, events)[0]


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        (waiting("InvalidImageName", "bad"), Severity.PERMANENT, "InvalidImageName: bad"),
        (waiting("ErrImageNeverPull", "not here"), Severity.PERMANENT, "ErrImageNeverPull: not here"),
        (waiting("CreateContainerConfigError", 'secret "s" not found'), Severity.PERMANENT, 'secret "s" not found'),
        (waiting("CreateContainerConfigError", "failed to sync secret cache"), Severity.SUSPICIOUS, "failed to sync"),
        (
            waiting("ErrImagePull", "rpc error: code = Unknown desc = Error response from daemon: manifest unknown"),
            Severity.PERMANENT,
            "ErrImagePull: manifest unknown",
        ),
        (waiting("ErrImagePull", "pull access denied for x, not found"), Severity.SUSPICIOUS, "pull access denied"),
        (waiting("ErrImagePull", "no basic auth credentials"), Severity.SUSPICIOUS, "no basic auth"),
        (waiting("ErrImagePull", "dial tcp: i/o timeout"), Severity.SUSPICIOUS, "ErrImagePull: dial tcp: i/o timeout"),
        (waiting("ImagePullBackOff", "Back-off pulling image"), Severity.SUSPICIOUS, "ImagePullBackOff: Back-off"),
        (waiting("RunContainerError", "exec: no such file"), Severity.SUSPICIOUS, "RunContainerError: exec"),
        (waiting("SignatureValidationFailed", "no signature"), Severity.SUSPICIOUS, "SignatureValidationFailed: no"),
        (waiting("ImageVolumeMountFailed", "no disk"), Severity.SUSPICIOUS, "ImageVolumeMountFailed: no disk"),
        (waiting("RROUnsupported", "old runtime"), Severity.SUSPICIOUS, "RROUnsupported: old runtime"),
        (waiting("PreCreateHookError", "device"), Severity.SUSPICIOUS, "PreCreateHookError: device"),
        (waiting("PreStartHookError", "device"), Severity.SUSPICIOUS, "PreStartHookError: device"),
        (
            waiting("CreateContainerError", r"exec: \"/bin/serve\": stat C:\\x"),
            Severity.SUSPICIOUS,
            r'exec: "/bin/serve": stat C:\x',
        ),
    ],
)
def test_a_waiting_container_is_classified(state: Json, kind: Severity, words: str) -> None:
    symptom = worst(a_pod(state=state))
    assert symptom.kind is kind
    assert words in symptom.reason


@pytest.mark.parametrize("state", [waiting("ContainerCreating"), waiting("PodInitializing"), {"running": {}}, {}])
def test_a_starting_pod_has_no_symptom(state: Json) -> None:
    assert of_pod(a_pod(state=state)) == []


def test_an_image_pull_back_off_has_the_cause_from_the_events() -> None:
    pod = a_pod(state=waiting("ImagePullBackOff", "Back-off pulling image"))
    early = an_event("iris-new-1", "Failed", 'Failed to pull image "x": manifest unknown', "2026-01-01T00:00:01Z")
    later = an_event("iris-new-1", "Failed", "Error: ImagePullBackOff", "2026-01-01T00:00:02Z")
    symptom = worst(pod, early, later)
    assert symptom.kind is Severity.PERMANENT
    assert symptom.reason.startswith("ErrImagePull: Failed to pull image")


def test_a_missing_signature_is_told_with_its_cause_while_the_pull_backs_off() -> None:
    pod = a_pod(state=waiting("ImagePullBackOff", 'Back-off pulling image "x": SignatureValidationFailed: rejected'))
    said = 'Failed to pull image "x": SignatureValidationFailed: image pull failed for x because it is not signed'
    early = an_event("iris-new-1", "Failed", said, "2026-01-01T00:00:01Z")
    later = an_event("iris-new-1", "Failed", "Error: SignatureValidationFailed", "2026-01-01T00:00:02Z")
    assert (worst(pod, early, later).kind, worst(pod, early, later).reason) == (
        Severity.SUSPICIOUS,
        f"ErrImagePull: {said}",
    )


def test_the_events_of_another_pod_are_ignored() -> None:
    pod = a_pod(state=waiting("ImagePullBackOff", "Back-off pulling image"))
    assert worst(pod, an_event("iris-new-2", "Failed", "manifest unknown")).kind is Severity.SUSPICIOUS


def test_a_crash_keeps_its_key_for_every_name_that_the_kubelet_uses() -> None:
    ended = {"exitCode": 3, "reason": "Error"}
    states = [{"terminated": ended}, waiting("CrashLoopBackOff", "back-off 10s"), {"running": {}}]
    symptoms = [worst(a_pod(state=state, last=ended, restarts=1)) for state in states]
    assert {symptom.key for symptom in symptoms} == {("uid-iris-new-1", "crash")}
    assert [symptom.down for symptom in symptoms] == [True, True, False]
    assert all("exited with code 3" in symptom.reason and symptom.crashed == "iris" for symptom in symptoms)


def test_a_container_killed_for_its_memory_is_reported_so() -> None:
    assert (
        "out of memory"
        in worst(a_pod(state=waiting("CrashLoopBackOff"), last={"exitCode": 137, "reason": "OOMKilled"})).reason
    )


def test_init_containers_are_checked_too() -> None:
    assert (
        "manifest unknown"
        in worst(a_pod(state=waiting("PodInitializing"), init=waiting("ErrImagePull", "manifest unknown"))).reason
    )


def test_a_completed_init_container_is_not_a_crash() -> None:
    assert of_pod(a_pod(state=waiting("PodInitializing"), init={"terminated": {"exitCode": 0}})) == []


def test_an_unschedulable_pod_is_suspicious() -> None:
    symptom = worst(a_pod(state={}, conditions=[UNSCHEDULABLE]))
    assert symptom.kind is Severity.SUSPICIOUS
    assert symptom.reason == "Unschedulable: 0/1 nodes: Insufficient cpu"


def test_a_pod_that_a_queue_holds_is_told_with_the_gate_and_waits() -> None:
    words = "Scheduling is blocked due to non-empty scheduling gates"
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": words}
    pod = a_pod(conditions=[gated], state={})
    assert worst(pod).reason == f"SchedulingGated: {words}"
    pod["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]
    assert worst(pod).reason == "SchedulingGated: it waits for kueue.x-k8s.io/admission"
    assert worst(pod).kind is Severity.TRANSIENT


@pytest.mark.parametrize("reason", ["FailedPrepareDynamicResources", "ImageVolumeMountFailed"])
def test_the_reason_of_a_pod_that_does_not_start_is_found_in_its_events(reason: str) -> None:
    pod = a_pod(state=waiting("ContainerCreating"))
    assert worst(pod, an_event("iris-new-1", reason, "no driver")).reason == f"{reason}: no driver"


def test_the_newest_event_is_found_by_the_time_of_its_series() -> None:
    pod = a_pod(state=waiting("ContainerCreating"))
    series = an_event("iris-new-1", "FailedMount", "the newest") | {"lastTimestamp": None}
    series["series"] = {"count": 3, "lastObservedTime": "2026-01-01T00:09:00.000000Z"}
    older = an_event("iris-new-1", "FailedMount", "older", "2026-01-01T00:05:00Z")
    assert worst(pod, series, older).reason == "FailedMount: the newest"


def test_an_evicted_pod_is_a_fault_of_the_cluster() -> None:
    assert worst(a_pod(state={}, phase="Failed", reason="Evicted", message="node was low")).kind is Severity.TRANSIENT


def test_a_failing_readiness_probe_is_reported_but_not_fatal() -> None:
    symptom = worst(a_pod(), an_event("iris-new-1", "Unhealthy", "Readiness probe failed: HTTP 503"))
    assert (symptom.kind, symptom.reason) == (Severity.TRANSIENT, "Unhealthy: Readiness probe failed: HTTP 503")


def test_a_terminating_or_ready_pod_has_no_symptoms() -> None:
    leaving = a_pod(state=waiting("CrashLoopBackOff"), last={"exitCode": 1})
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert of_pod(leaving) == []
    assert of_pod(a_pod(ready=True, last={"exitCode": 1}, restarts=3)) == []


def test_pods_that_cannot_be_created_are_a_symptom_of_the_deployment() -> None:
    condition = a_condition("ReplicaFailure", "True", "FailedCreate", message="exceeded quota: small")
    (symptom,) = of_creation(a_deployment(conditions=[condition]))
    assert (symptom.kind, symptom.reason) == (Severity.SUSPICIOUS, "FailedCreate: exceeded quota: small")
    assert of_creation(a_deployment()) == []
