"""A Deployment that somebody else created, in which deployd only sets the image, by compare-and-set.

Changes nothing but the image of one container, the change-cause and our own annotations. Pure.
"""

from collections.abc import Mapping
from typing import Any

from deployd.errors import RolloutFailed
from deployd.targets.kubernetes.verdict import image_of

Json = dict[str, Any]


def pick_container(deployment: Json, wanted: str | None) -> str:
    """The name of the container whose image is set: `wanted`, or the only one. RolloutFailed when that is not clear."""
    found = [container["name"] for container in deployment["spec"]["template"]["spec"]["containers"]]
    if wanted is None and len(found) == 1:
        return str(found[0])
    name = deployment["metadata"]["name"]
    if wanted is None:
        raise RolloutFailed(
            f"Deployment {name} has the containers {', '.join(found)}",
            hint="name one of them as container in [app.kubernetes]",
        )
    if wanted not in found:
        raise RolloutFailed(
            f"Deployment {name} has no container {wanted}",
            hint=f"it has {', '.join(found)}; change container in [app.kubernetes]",
        )
    return wanted


def selector_of(deployment: Json) -> str:
    """The label selector of a Deployment's pods, for a query."""
    chosen = deployment["spec"]["selector"]
    found = [f"{key}={value}" for key, value in sorted(chosen.get("matchLabels", {}).items())]
    for wanted in chosen.get("matchExpressions", []):
        key, values = wanted["key"], ",".join(wanted.get("values") or [])
        match wanted["operator"]:
            case "In":
                found.append(f"{key} in ({values})")
            case "NotIn":
                found.append(f"{key} notin ({values})")
            case "Exists":
                found.append(key)
            case _:
                found.append(f"!{key}")
    return ",".join(found)


def image_patch(deployment: Json, container: str, image: str, annotations: Mapping[str, str]) -> list[Json]:
    """A JSON Patch that sets image and annotations. It fails when container or image have changed since `deployment`."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    index = next(index for index, item in enumerate(containers) if item["name"] == container)
    path = f"/spec/template/spec/containers/{index}"
    operations: list[Json] = [
        {"op": "test", "path": f"{path}/name", "value": container},
        {"op": "test", "path": f"{path}/image", "value": image_of(deployment["spec"]["template"], container)},
        {"op": "replace", "path": f"{path}/image", "value": image},
    ]
    if "annotations" not in deployment["metadata"]:
        operations.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    return operations + [
        {"op": "add", "path": f"/metadata/annotations/{_escaped(key)}", "value": value}
        for key, value in annotations.items()
    ]


def warnings(deployment: Json, container: str) -> list[str]:
    """Warnings about a Deployment whose pod template deployd does not write."""
    found = []
    spec = next(item for item in deployment["spec"]["template"]["spec"]["containers"] if item["name"] == container)
    if "readinessProbe" not in spec:
        found.append(f"container {container} has no readinessProbe: a pod gets traffic before it can answer")
    if "preStop" not in spec.get("lifecycle", {}):
        found.append(f"container {container} has no preStop: requests can be lost while a pod ends")
    if manager := image_manager(deployment, container):
        found.append(f"{manager} also sets the image and may undo what deployd sets")
    return found


def image_manager(deployment: Json, container: str) -> str | None:
    """Another field manager that owns the container's image and will set it again. A change by hand (kubectl set, edit, create)
    does not count."""
    for entry in deployment["metadata"].get("managedFields", []):
        owner = entry.get("manager", "")
        fields: Any = entry.get("fieldsV1", {})
        for step in ("f:spec", "f:template", "f:spec", "f:containers", f'k:{{"name":"{container}"}}', "f:image"):
            fields = fields.get(step) if isinstance(fields, dict) else None
        by_hand = owner.startswith("kubectl") and entry.get("operation") != "Apply" and not owner.endswith("-apply")
        if fields is not None and not by_hand and not owner.startswith("deployd"):
            return str(owner)
    return None


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
