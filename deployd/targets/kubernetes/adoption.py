"""A Deployment that somebody else made and deployd only feeds with images: reading it, and patching it with compare-and-set.

Only the image of one container, the change-cause and our own annotations are ever changed. Pure.
"""

from collections.abc import Mapping
from typing import Any

from deployd.errors import RolloutFailed
from deployd.targets.kubernetes.verdict import image_of

Json = dict[str, Any]


def pick_container(deployment: Json, wanted: str | None) -> str:
    """The name of the container to feed: `wanted`, or the only one. RolloutFailed when that is not clear.

    Asked before every patch: a strategic merge with a wrong name would add a container instead of failing.
    """
    found = [container["name"] for container in deployment["spec"]["template"]["spec"]["containers"]]
    if wanted is None and len(found) == 1:
        return str(found[0])
    name = deployment["metadata"]["name"]
    if wanted is None:
        raise RolloutFailed(
            f"Deployment {name} has the containers {', '.join(found)}",
            hint="say which with container in [app.kubernetes]",
        )
    if wanted not in found:
        raise RolloutFailed(
            f"Deployment {name} has no container {wanted}",
            hint=f"it has {', '.join(found)}; see container in [app.kubernetes]",
        )
    return wanted


def selector_of(deployment: Json) -> str:
    """What picks the pods of a Deployment, as a query says it."""
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


def image_patch(deployment: Json, container: str, image: str, marks: Mapping[str, str]) -> list[Json]:
    """A JSON Patch that swaps the image, if container and image are still what `deployment` shows, and sets annotations."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    index = next(index for index, item in enumerate(containers) if item["name"] == container)
    here = f"/spec/template/spec/containers/{index}"
    operations: list[Json] = [
        {"op": "test", "path": f"{here}/name", "value": container},
        {"op": "test", "path": f"{here}/image", "value": image_of(deployment["spec"]["template"], container)},
        {"op": "replace", "path": f"{here}/image", "value": image},
    ]
    if "annotations" not in deployment["metadata"]:
        operations.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    return operations + [
        {"op": "add", "path": f"/metadata/annotations/{_escaped(key)}", "value": value} for key, value in marks.items()
    ]


def warnings(deployment: Json, container: str) -> list[str]:
    """What a person should know of a Deployment that deployd did not shape."""
    found = []
    spec = next(item for item in deployment["spec"]["template"]["spec"]["containers"] if item["name"] == container)
    if "readinessProbe" not in spec:
        found.append(f"container {container} has no readinessProbe: a pod takes traffic before it can answer")
    if "preStop" not in spec.get("lifecycle", {}):
        found.append(f"container {container} has no preStop: requests can be lost while a pod ends")
    if manager := image_manager(deployment, container):
        found.append(f"{manager} also sets the image and may undo what deployd sets")
    return found


def image_manager(deployment: Json, container: str) -> str | None:
    """Another field manager that owns the container's image. Who wrote it once by hand (kubectl set, edit, create) does not
    count; who applies it will do so again."""
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
