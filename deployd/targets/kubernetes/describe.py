"""The description of an app in the cluster for a person: short JSON, made from API objects. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from deployd.targets.kubernetes.events import times, when
from deployd.targets.kubernetes.manifests import CHANGE_CAUSE, COMMIT, DEPLOY, LAST_GOOD
from deployd.targets.kubernetes.symptoms import Json, condition_of, is_ready, of_pod, restarts_of
from deployd.targets.kubernetes.verdict import REVISION, complete, counts
from deployd.targets.kubernetes.words import plain

_EVENTS = 20


def described(
    deployment: Json,
    replica_sets: Sequence[Json],
    pods: Sequence[Json],
    events: Sequence[Json],
    service: Json | None,
    autoscaler: Json | None,
) -> Mapping[str, Any]:
    """All that `deployd describe` shows of an app on Kubernetes."""
    meta = deployment["metadata"]
    annotations = meta.get("annotations", {})
    condition = condition_of(deployment, "Progressing")
    return {
        "target": "kubernetes",
        "namespace": meta["namespace"],
        "deployment": meta["name"],
        "labels": meta.get("labels", {}),
        "selector": deployment["spec"]["selector"].get("matchLabels", {}),
        "deploy": annotations.get(DEPLOY),
        "commit": annotations.get(COMMIT),
        "last_good": annotations.get(LAST_GOOD),
        "change_cause": annotations.get(CHANGE_CAUSE),
        "images": [container["image"] for container in deployment["spec"]["template"]["spec"]["containers"]],
        "rollout": "complete"
        if complete(deployment)
        else "paused"
        if deployment["spec"].get("paused")
        else "in progress",
        "replicas": counts(deployment),
        "condition": f"{condition.get('reason', '')}: {plain(condition.get('message'))}" if condition else "",
        "replica_sets": [_replica_set(item) for item in sorted(replica_sets, key=_revision, reverse=True)],
        "pods": [_pod(pod, events) for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))],
        "addresses": addresses(service),
        "autoscaler": _autoscaler(autoscaler),
        "events": [_event(event) for event in sorted(events, key=when)[-_EVENTS:]],
    }


def addresses(service: Json | None) -> list[str]:
    """The addresses of the Service: `ClusterIP 10.0.0.7:80`, `NodePort 30080`, `LoadBalancer 203.0.113.9:80`."""
    if service is None:
        return []
    spec, found = service["spec"], []
    balancers = service.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    for port in spec.get("ports", []):
        found.append(f"ClusterIP {spec.get('clusterIP')}:{port['port']}")
        if "nodePort" in port:
            found.append(f"NodePort {port['nodePort']}")
        found += [f"LoadBalancer {item.get('ip') or item.get('hostname')}:{port['port']}" for item in balancers]
    return found


def _replica_set(item: Json) -> Json:
    status = item.get("status", {})
    return {
        "name": item["metadata"]["name"],
        "revision": _revision(item),
        "images": [container["image"] for container in item["spec"]["template"]["spec"]["containers"]],
        "replicas": status.get("replicas", 0),
        "ready": status.get("readyReplicas", 0),
        "change_cause": item["metadata"].get("annotations", {}).get(CHANGE_CAUSE),
    }


def _pod(pod: Json, events: Sequence[Json]) -> Json:
    status = pod.get("status", {})
    return {
        "name": pod["metadata"]["name"],
        "phase": "Terminating" if pod["metadata"].get("deletionTimestamp") else status.get("phase"),
        "ready": is_ready(pod),
        "restarts": restarts_of(pod),
        "ip": status.get("podIP"),
        "node": pod["spec"].get("nodeName"),
        "troubles": [symptom.reason for symptom in of_pod(pod, events)],
    }


def _autoscaler(item: Json | None) -> Json | None:
    if item is None:
        return None
    spec, status = item["spec"], item.get("status", {})
    return {"min": spec.get("minReplicas", 1), "max": spec["maxReplicas"], "current": status.get("currentReplicas")}


def _event(event: Json) -> Json:
    about = event.get("involvedObject", {})
    return {
        "at": when(event),
        "type": event.get("type"),
        "reason": event.get("reason"),
        "object": f"{about.get('kind')}/{about.get('name')}",
        "message": plain(event.get("message")),
        "count": times(event),
    }


def _revision(item: Json) -> int:
    return int(item["metadata"].get("annotations", {}).get(REVISION) or 0)
