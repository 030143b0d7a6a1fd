"""How far a Deployment's rollout goes by itself, and how a canary limits it. Pure.

A limited rollout starts a few new pods beside all the old ones. They get requests as soon as they are ready, but never count as
available, so the controller removes no old pod, for however long that is. An annotation keeps the Deployment's own pace. It
comes back with the same write that lets the rollout go on or goes back: nothing of the limit can stay behind.
"""

import json
from typing import Any

from deployd.errors import RolloutFailed

Json = dict[str, Any]

OWN_PACE = "io.deployd.held"
NO_DEADLINE_S = 2**31 - 1
"""The controller takes this as no deadline. It forgets its progress so far, and begins anew when a deadline comes back."""
NEVER_AVAILABLE_S = NO_DEADLINE_S - 1
"""It has to be less than the deadline."""

_DEFAULTS: Json = {"minReadySeconds": 0, "progressDeadlineSeconds": 600, "strategy": {"type": "RollingUpdate"}}


def share_of(percent: int, replicas: int) -> int:
    """How many new pods beside `replicas` old ones come nearest to `percent` of all: at least one, at most as many as those."""

    def miss(pods: int) -> float:
        return abs(100 * pods / (replicas + pods) - percent)

    return min(range(1, max(1, replicas) + 1), key=miss)


def told(percent: int, new: int, pods: int) -> str:
    """The share in words, such as `5 % asked, 1 of 4 pods is 25 %`."""
    if not pods:
        return f"{percent} % asked, and no pods are wanted"
    return f"{percent} % asked, {new} of {pods} pods is {100 * new / pods:.0f} %"


def is_limited(found: Json) -> bool:
    """Whether new pods of a Deployment never count as available now."""
    return bool(found["spec"].get("minReadySeconds") == NEVER_AVAILABLE_S)


def keeps_old_pods(found: Json) -> bool:
    """Whether a limit still keeps all old pods: somebody else may have changed a part of it."""
    rolling = found["spec"].get("strategy", {}).get("rollingUpdate") or {}
    return is_limited(found) and rolling.get("maxUnavailable") == 0


def own_pace(found: Json) -> Json:
    """The fields of the spec that a limit changes, as they are without it; the API server's defaults when somebody removed the
    annotation."""
    kept = _annotations(found).get(OWN_PACE, "{}" if is_limited(found) else None)
    present = found["spec"] if kept is None else json.loads(kept)
    return {key: present.get(key, default) for key, default in _DEFAULTS.items()}


def require_rolling(found: Json) -> None:
    """RolloutFailed when two releases never serve at the same time, so that there can be no canary."""
    if own_pace(found)["strategy"].get("type") == "Recreate":
        raise RolloutFailed(
            f"Deployment {found['metadata']['name']} has the strategy Recreate, so it can have no canary",
            hint="remove weights from [app.gateway], or give the Deployment the strategy RollingUpdate",
        )


def limited_spec(pods: int) -> Json:
    """The fields of the spec that limit a rollout to `pods` new pods."""
    return {
        "minReadySeconds": NEVER_AVAILABLE_S,
        "progressDeadlineSeconds": NO_DEADLINE_S,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": pods, "maxUnavailable": 0}},
    }


def paced(manifest: Json, found: Json | None, pods: int | None) -> Json:
    """The manifest of a Deployment that deployd creates, limited to `pods` new pods; None: at its own pace."""
    if found is None:
        return manifest
    own = own_pace(found)
    if pods is not None:
        metadata = manifest["metadata"]
        marks = metadata["annotations"] | {OWN_PACE: json.dumps(own)}
        return manifest | {"metadata": metadata | {"annotations": marks}, "spec": manifest["spec"] | limited_spec(pods)}
    # All else of its pace is in the manifest. What somebody set by hand was taken over by the limit, and has to be written.
    if OWN_PACE in _annotations(found) and own["minReadySeconds"]:
        return manifest | {"spec": manifest["spec"] | {"minReadySeconds": own["minReadySeconds"]}}
    return manifest


def pace_patch(found: Json, pods: int | None) -> list[Json]:
    """The operations of a JSON Patch that limit a Deployment to `pods` new pods; None: that give it its own pace back.

    The object must have annotations by then."""
    mark = f"/metadata/annotations/{OWN_PACE}"
    if pods is not None:
        kept = {"op": "add", "path": mark, "value": json.dumps(own_pace(found))}
        return [*_set(limited_spec(pods)), kept]
    if OWN_PACE in _annotations(found):
        return [*_set(own_pace(found)), {"op": "remove", "path": mark}]
    return _set(own_pace(found)) if is_limited(found) else []


def _set(fields: Json) -> list[Json]:
    return [{"op": "add", "path": f"/spec/{key}", "value": value} for key, value in fields.items()]


def _annotations(found: Json) -> dict[str, str]:
    annotations: dict[str, str] = found["metadata"].get("annotations", {})
    return annotations
