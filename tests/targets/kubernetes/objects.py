"""Small API objects as the server sends them, for the tests of the pure parts."""

from typing import Any

from deployd.targets.kubernetes.verdict import REVISION, Aim, View

Json = dict[str, Any]

NEW, OLD = "registry.example.com/iris@sha256:new", "registry.example.com/iris@sha256:old"


def a_template(image: str = NEW) -> Json:
    return {"metadata": {"labels": {"app": "iris"}}, "spec": {"containers": [{"name": "iris", "image": image}]}}


AIM = Aim(container="iris", image=NEW, generation=2, uid="d", template=a_template(), stale=None, patience=15.0)


def a_deployment(
    *,
    image: str = NEW,
    replicas: int = 3,
    total: int = 3,
    updated: int = 3,
    available: int = 3,
    generation: int = 2,
    observed: int = 2,
    conditions: list[Json] | None = None,
    paused: bool = False,
) -> Json:
    """A complete rollout by default."""
    return {
        "metadata": {
            "name": "iris",
            "namespace": "ml",
            "uid": "d",
            "resourceVersion": "41",
            "generation": generation,
            "annotations": {REVISION: "2"},
        },
        "spec": {
            "replicas": replicas,
            "paused": paused,
            "selector": {"matchLabels": {"app": "iris"}},
            "template": a_template(image),
        },
        "status": {
            "observedGeneration": observed,
            "replicas": total,
            "updatedReplicas": updated,
            "availableReplicas": available,
            "conditions": conditions or [],
        },
    }


def a_condition(kind: str, status: str, reason: str, at: str = "2026-01-01T00:00:00Z", message: str = "") -> Json:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastUpdateTime": at}


def a_replica_set(uid: str = "new", revision: str = "2", image: str = NEW) -> Json:
    return {
        "metadata": {
            "name": f"iris-{uid}",
            "uid": uid,
            "annotations": {REVISION: revision},
            "ownerReferences": [{"uid": "d"}],
        },
        "spec": {"template": a_template(image)},
    }


def a_pod(
    name: str = "iris-new-1",
    *,
    owner: str = "new",
    ready: bool = False,
    state: Json | None = None,
    last: Json | None = None,
    restarts: int = 0,
    init: Json | None = None,
    conditions: list[Json] | None = None,
    **status: Any,
) -> Json:
    """A running pod that is not ready by default."""
    container = {
        "name": "iris",
        "ready": ready,
        "restartCount": restarts,
        "state": state if state is not None else {"running": {}},
        "lastState": {"terminated": last} if last else {},
    }
    inits = [{"name": "init", "ready": False, "restartCount": 0, "state": init, "lastState": {}}] if init else []
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "ownerReferences": [{"uid": owner}]},
        "spec": {"nodeName": "node"},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.9",
            "conditions": [{"type": "Ready", "status": str(ready)}, *(conditions or [])],
            "containerStatuses": [container],
            "initContainerStatuses": inits,
            **status,
        },
    }


def waiting(reason: str, message: str = "") -> Json:
    return {"waiting": {"reason": reason, "message": message}}


def an_event(pod: str, reason: str, message: str, at: str = "2026-01-01T00:00:00Z") -> Json:
    return {
        "involvedObject": {"kind": "Pod", "name": pod, "uid": f"uid-{pod}"},
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
        "metadata": {"uid": f"event-{pod}-{reason}-{at}"},
    }


def a_view(deployment: Json | None, *pods: Json, events: tuple[Json, ...] = ()) -> View:
    """The Deployment with an old and a new ReplicaSet."""
    return View(deployment, [a_replica_set("old", "1", OLD), a_replica_set()], pods, events)
