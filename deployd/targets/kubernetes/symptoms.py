"""The symptoms of a rollout's pods, read from the JSON of pods, ReplicaSets and events. Pure.

A PERMANENT symptom needs another image or spec, so waiting is pointless. A SUSPICIOUS one often goes away (a pull that backs
off, a crash while a dependency is down, no capacity until a node is added), so it is fatal only after some time. A TRANSIENT one
is never fatal, but is reported when the deadline passes. Knows no clock and no verdict on the Deployment.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from deployd.targets.kubernetes.events import when
from deployd.targets.kubernetes.words import plain

Json = dict[str, Any]


class Severity(StrEnum):
    """Whether a symptom can go away by itself; the worst first."""

    PERMANENT = "permanent"
    SUSPICIOUS = "suspicious"
    TRANSIENT = "transient"


@dataclass(frozen=True, slots=True)
class Symptom:
    """One problem of one pod. `key` stays the same while the problem lasts, even if the kubelet's message changes.

    `down`: it is present now, and not only lately, as with a container that runs between two crashes. `crashed` is the container
    whose last output explains it.
    """

    key: tuple[str, str]
    kind: Severity
    reason: str
    pod: str = ""
    crashed: str | None = None
    restarts: int = 0
    down: bool = True


# A container that crashed again after so many restarts does not wait for a dependency.
MANY_RESTARTS = 4

_PERMANENT = frozenset({"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"})
# A signature may be written a moment after its image.
_PULL = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"}
)
_START = frozenset(
    {
        "RunContainerError",
        "CreateContainerError",
        "ContainerCannotRun",
        "CreatePodSandboxError",
        "ImageVolumeMountFailed",
        "PostStartHookError",
        "PreCreateHookError",
        "PreStartHookError",
        "RROUnsupported",
    }
)
# Without refusals: a kubelet may pull before it knows a new pull secret, and succeed the next time.
_HOPELESS_PULL = re.compile(
    r"not found|manifest unknown|name unknown|no match for platform|no matching manifest|server gave HTTP response",
    re.IGNORECASE,
)
_REFUSED_PULL = re.compile(
    r"unauthori[sz]ed|authentication|authorization|denied|no basic auth|forbidden", re.IGNORECASE
)
_BARE = re.compile(r"Error: \w+")  # beside the event that tells the cause
_NOISE = re.compile(r"rpc error: code = \w+ desc = |Error response from daemon: |failed to pull and unpack image \S+ ")
_SHOWN = (
    "FailedMount",
    "FailedCreatePodSandBox",
    "FailedAttachVolume",
    "NetworkNotReady",
    "Unhealthy",
    "FailedPostStartHook",
    "FailedPrepareDynamicResources",
    "ImageVolumeMountFailed",
)


def of_pod(pod: Json, events: Sequence[Json] = ()) -> list[Symptom]:
    """All symptoms of a pod, the worst first. `events` may belong to any objects."""
    if pod["metadata"].get("deletionTimestamp") or is_ready(pod):
        return []
    found = [*_of_scheduling(pod), *_of_phase(pod)]
    status = pod.get("status", {})
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        found += _of_container(pod, container, events)
    found += _of_events(pod, events)
    return sorted(found, key=lambda symptom: list(Severity).index(symptom.kind))


def of_creation(deployment: Json) -> list[Symptom]:
    """The symptom that no pods can be created: quota, admission, a missing ServiceAccount."""
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            reason = f"{condition.get('reason', 'FailedCreate')}: {plain(condition.get('message'))}"
            return [Symptom((deployment["metadata"]["uid"], "create"), Severity.SUSPICIOUS, reason)]
    return []


def worst_symptom(symptoms: Sequence[Symptom]) -> Symptom | None:
    """The worst of the symptoms; None when there is none."""
    return min(symptoms, key=lambda symptom: list(Severity).index(symptom.kind), default=None)


def is_ready(pod: Json) -> bool:
    """Whether the pod gets traffic."""
    return condition_of(pod, "Ready").get("status") == "True"


def condition_of(item: Json, kind: str) -> Json:
    """The condition of type `kind`; empty when the object has none."""
    conditions: list[Json] = item.get("status", {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == kind), {})


def restarts_of(pod: Json) -> int:
    """The restarts of all containers of the pod."""
    return sum(
        int(container.get("restartCount", 0)) for container in pod.get("status", {}).get("containerStatuses") or []
    )


def _of_scheduling(pod: Json) -> Iterator[Symptom]:
    condition = condition_of(pod, "PodScheduled")
    reason = condition.get("reason") if condition.get("status") == "False" else None
    uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
    if reason == "Unschedulable":
        yield Symptom((uid, "schedule"), Severity.SUSPICIOUS, f"Unschedulable: {plain(condition.get('message'))}", name)
    elif reason == "SchedulingGated":
        # A queue, as that of Kueue, lets the pod go when its turn comes.
        gates = ", ".join(str(gate["name"]) for gate in pod["spec"].get("schedulingGates") or [])
        what = f"it waits for {gates}" if gates else plain(condition.get("message"))
        yield Symptom((uid, "schedule"), Severity.TRANSIENT, f"SchedulingGated: {what}", name)


def _of_phase(pod: Json) -> Iterator[Symptom]:
    status = pod.get("status", {})
    if status.get("phase") == "Failed":
        # An evicted or preempted pod is replaced; the cluster is the cause, not the image.
        reason = f"{status.get('reason', 'Failed')}: {plain(status.get('message')) or 'the pod failed'}"
        yield Symptom((pod["metadata"]["uid"], "phase"), Severity.TRANSIENT, reason, pod["metadata"]["name"])


def _of_container(pod: Json, container: Json, events: Sequence[Json]) -> Iterator[Symptom]:
    uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
    waiting: Json = container.get("state", {}).get("waiting", {})
    reason, message = waiting.get("reason", ""), _plain(waiting.get("message", ""))
    if reason in _PERMANENT:
        # The kubelet may not have a new Secret in its cache yet; the next try finds it.
        racing = "failed to sync" in message
        yield Symptom(
            (uid, reason), Severity.SUSPICIOUS if racing else Severity.PERMANENT, f"{reason}: {message}", name
        )
    elif reason in _PULL:
        # The state during a back-off does not give the cause; the event of the last try does.
        cause = _newest_message(pod, "Failed", events) if reason == "ImagePullBackOff" else ""
        message = cause or message
        hopeless = bool(_HOPELESS_PULL.search(message)) and not _REFUSED_PULL.search(message)
        word = "ErrImagePull" if cause else reason
        yield Symptom(
            (uid, "pull"), Severity.PERMANENT if hopeless else Severity.SUSPICIOUS, f"{word}: {message}", name
        )
    elif reason in _START:
        yield Symptom((uid, "start"), Severity.SUSPICIOUS, f"{reason}: {message}", name)
    elif crash := _crash(container):
        yield Symptom((uid, "crash"), Severity.SUSPICIOUS, *_crash_fields(container, crash, name))


def _crash_fields(container: Json, crash: Json, pod: str) -> tuple[str, str, str, int, bool]:
    """The fields of a crash's Symptom from `reason` on."""
    restarts = int(container.get("restartCount", 0))
    running = "running" in container.get("state", {})
    word = container.get("state", {}).get("waiting", {}).get("reason") or "Crashed"
    code = f"exited with code {crash.get('exitCode')}"
    how = "was killed: out of memory" if crash.get("reason") == "OOMKilled" else code
    message = plain(crash.get("message"))
    text = f"{word}: container {container['name']} {how}" + (f" ({message[:300]})" if message else "")
    return text, pod, container["name"], restarts, not running


def _crash(container: Json) -> Json | None:
    """How the container last ended; None when it should have ended, or has not."""
    state, last = container.get("state", {}), container.get("lastState", {})
    ended: Json | None = state.get("terminated") or last.get("terminated")
    if ended is None or container.get("ready"):
        return None
    finished_init = state.get("terminated", {}).get("exitCode") == 0 and not container.get("restartCount")
    return None if finished_init else ended


def _of_events(pod: Json, events: Sequence[Json]) -> Iterator[Symptom]:
    for reason in _SHOWN:
        if message := _newest_message(pod, reason, events):
            yield Symptom(
                (pod["metadata"]["uid"], reason), Severity.TRANSIENT, f"{reason}: {message}", pod["metadata"]["name"]
            )


def _newest_message(pod: Json, reason: str, events: Sequence[Json]) -> str:
    """The newest message of the pod's events with that reason."""
    about = [
        event
        for event in events
        if event.get("reason") == reason and event.get("involvedObject", {}).get("uid") == pod["metadata"]["uid"]
    ]
    messages = [_plain(str(event.get("message", ""))) for event in sorted(about, key=when)]
    causes = [text for text in messages if not _BARE.fullmatch(text)]
    return causes[-1] if causes else ""


def _plain(text: str) -> str:
    return _NOISE.sub("", plain(text)).strip()
