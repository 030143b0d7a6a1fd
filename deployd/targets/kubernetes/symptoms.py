"""What is wrong with the pods of a rollout: pure reading of pod, ReplicaSet and event JSON.

Three classes. PERMANENT cannot heal without another image or spec, so waiting is pointless. SUSPICIOUS often heals (a pull
that backs off, a crash while a dependency is down, no room until a node comes), so it is fatal only after a grace. What is
TRANSIENT only the deadline ends, but it is told then. Knows neither clocks nor the Deployment's own verdict.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Json = dict[str, Any]


class Class(StrEnum):
    """What may be hoped for."""

    PERMANENT = "permanent"
    SUSPICIOUS = "suspicious"
    TRANSIENT = "transient"


@dataclass(frozen=True, slots=True)
class Symptom:
    """One thing wrong with one pod. `key` is stable while the trouble lasts, however the kubelet's words for it change.

    `down` says that it shows at this moment, not only lately: a container between two crashes runs. `crashed` is the
    container whose last output is worth reading.
    """

    key: tuple[str, str]
    kind: Class
    reason: str
    pod: str = ""
    crashed: str | None = None
    restarts: int = 0
    down: bool = True


# A container that came back this often and fell again is not waiting for a dependency.
MANY_RESTARTS = 4

_PERMANENT = frozenset({"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"})
_PULL = frozenset({"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable"})
_START = frozenset(
    {"RunContainerError", "CreateContainerError", "ContainerCannotRun", "CreatePodSandboxError", "PostStartHookError"}
)
# Not the refusals: a kubelet may ask without a pull secret that was only just made, and has it the next time.
_HOPELESS_PULL = re.compile(
    r"not found|manifest unknown|name unknown|no match for platform|no matching manifest|server gave HTTP response",
    re.IGNORECASE,
)
_REFUSED_PULL = re.compile(
    r"unauthori[sz]ed|authentication|authorization|denied|no basic auth|forbidden", re.IGNORECASE
)
_NOISE = re.compile(r"rpc error: code = \w+ desc = |Error response from daemon: |failed to pull and unpack image \S+ ")
_SHOWN = (
    "FailedMount",
    "FailedCreatePodSandBox",
    "FailedAttachVolume",
    "NetworkNotReady",
    "Unhealthy",
    "FailedPostStartHook",
)


def of_pod(pod: Json, events: Sequence[Json] = ()) -> list[Symptom]:
    """Everything wrong with a pod, the worst first. `events` may be those of any objects."""
    if pod["metadata"].get("deletionTimestamp") or is_ready(pod):
        return []
    found = [*_of_scheduling(pod), *_of_phase(pod)]
    status = pod.get("status", {})
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        found += _of_container(pod, container, events)
    found += _of_events(pod, events)
    return sorted(found, key=lambda symptom: list(Class).index(symptom.kind))


def of_creation(deployment: Json) -> list[Symptom]:
    """Pods that cannot even be created: quota, admission, a missing ServiceAccount."""
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            reason = f"{condition.get('reason', 'FailedCreate')}: {condition.get('message', '')}"
            return [Symptom((deployment["metadata"]["uid"], "create"), Class.SUSPICIOUS, reason)]
    return []


def worst_symptom(symptoms: Sequence[Symptom]) -> Symptom | None:
    """The one to tell first."""
    return min(symptoms, key=lambda symptom: list(Class).index(symptom.kind), default=None)


def is_ready(pod: Json) -> bool:
    """The pod takes traffic."""
    return condition_of(pod, "Ready").get("status") == "True"


def condition_of(item: Json, kind: str) -> Json:
    """The condition of that type, empty when the object has none."""
    conditions: list[Json] = item.get("status", {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == kind), {})


def restarts_of(pod: Json) -> int:
    """How often the pod's containers came back, in all."""
    return sum(
        int(container.get("restartCount", 0)) for container in pod.get("status", {}).get("containerStatuses") or []
    )


def _of_scheduling(pod: Json) -> Iterator[Symptom]:
    condition = condition_of(pod, "PodScheduled")
    if condition.get("status") == "False" and condition.get("reason") == "Unschedulable":
        uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
        yield Symptom((uid, "schedule"), Class.SUSPICIOUS, f"Unschedulable: {condition.get('message', '')}", name)


def _of_phase(pod: Json) -> Iterator[Symptom]:
    status = pod.get("status", {})
    if status.get("phase") == "Failed":
        # An evicted or preempted pod is replaced; that is the cluster's trouble, not the image's.
        reason = f"{status.get('reason', 'Failed')}: {status.get('message', 'the pod failed')}"
        yield Symptom((pod["metadata"]["uid"], "phase"), Class.TRANSIENT, reason, pod["metadata"]["name"])


def _of_container(pod: Json, container: Json, events: Sequence[Json]) -> Iterator[Symptom]:
    uid, name = pod["metadata"]["uid"], pod["metadata"]["name"]
    waiting: Json = container.get("state", {}).get("waiting", {})
    reason, message = waiting.get("reason", ""), _plain(waiting.get("message", ""))
    if reason in _PERMANENT:
        # The kubelet may lose the race for a fresh Secret's cache; it wins the next one.
        racing = "failed to sync" in message
        yield Symptom((uid, reason), Class.SUSPICIOUS if racing else Class.PERMANENT, f"{reason}: {message}", name)
    elif reason in _PULL:
        # A back-off only says that it backs off; why stands in the event of the last try.
        cause = _first_words(pod, "Failed", events) if reason == "ImagePullBackOff" else ""
        message = cause or message
        hopeless = bool(_HOPELESS_PULL.search(message)) and not _REFUSED_PULL.search(message)
        said = "ErrImagePull" if cause else reason
        yield Symptom((uid, "pull"), Class.PERMANENT if hopeless else Class.SUSPICIOUS, f"{said}: {message}", name)
    elif reason in _START:
        yield Symptom((uid, "start"), Class.SUSPICIOUS, f"{reason}: {message}", name)
    elif crash := _crash(container):
        yield Symptom((uid, "crash"), Class.SUSPICIOUS, *crash_words(container, crash, name))


def crash_words(container: Json, crash: Json, pod: str) -> tuple[str, str, str, int, bool]:
    """The fields of a crash's Symptom from `reason` on."""
    restarts = int(container.get("restartCount", 0))
    running = "running" in container.get("state", {})
    word = container.get("state", {}).get("waiting", {}).get("reason") or "Crashed"
    code = f"exited with code {crash.get('exitCode')}"
    why = "was killed: out of memory" if crash.get("reason") == "OOMKilled" else code
    said = str(crash.get("message") or "").strip()
    words = f"{word}: container {container['name']} {why}" + (f" ({said[:300]})" if said else "")
    return words, pod, container["name"], restarts, not running


def _crash(container: Json) -> Json | None:
    """How the container last ended, when it should not have."""
    state, last = container.get("state", {}), container.get("lastState", {})
    ended: Json | None = state.get("terminated") or last.get("terminated")
    if ended is None or container.get("ready"):
        return None
    finished_init = state.get("terminated", {}).get("exitCode") == 0 and not container.get("restartCount")
    return None if finished_init else ended


def _of_events(pod: Json, events: Sequence[Json]) -> Iterator[Symptom]:
    for reason in _SHOWN:
        if message := _first_words(pod, reason, events):
            yield Symptom(
                (pod["metadata"]["uid"], reason), Class.TRANSIENT, f"{reason}: {message}", pod["metadata"]["name"]
            )


def _first_words(pod: Json, reason: str, events: Sequence[Json]) -> str:
    """The newest message of that reason about the pod: why a pull failed stands there when the state only says back-off."""
    about = [
        event
        for event in events
        if event.get("reason") == reason and event.get("involvedObject", {}).get("uid") == pod["metadata"]["uid"]
    ]
    words = [
        _plain(str(event.get("message", "")))
        for event in sorted(about, key=lambda event: event.get("lastTimestamp") or "")
    ]
    causes = [text for text in words if not text.startswith(("Error: ImagePull", "Error: ErrImage"))]
    return causes[-1] if causes else ""


def _plain(text: str) -> str:
    return _NOISE.sub("", text).strip()
