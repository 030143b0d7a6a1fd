"""Detects changes of a Deployment by somebody else. Pure."""

from deployd.config.kubernetes import KubernetesApp
from deployd.targets.kubernetes.manifests import DEPLOY, IMAGE, REPLICAS, SCALED, Json
from deployd.targets.kubernetes.releases import Release
from deployd.targets.kubernetes.verdict import image_of


def changed_by_others(found: Json, container: str) -> bool:
    """Whether the image is not the one that deployd set, as also in a Deployment without our annotations."""
    ours = annotations_of(found).get(IMAGE)
    return bool(image_of(found["spec"]["template"], container) != ours)


def asks_for(found: Json, release: Release) -> bool:
    """Whether the Deployment asks for `release`, and not for the same image from a later, unproven deploy."""
    number = annotations_of(found).get(DEPLOY, "0")
    return bool(
        number == str(release.number or 0) and image_of(found["spec"]["template"], release.container) == release.image
    )


def other_release(found: Json, good: Release) -> str:
    """A description of how the Deployment's release differs from `good`."""
    image = image_of(found["spec"]["template"], good.container)
    if changed_by_others(found, good.container):
        return f"somebody else set the image of its Deployment to {image}"
    return f"its Deployment asks for {image} of deploy {annotations_of(found).get(DEPLOY, 'unknown')}"


def stopped_by_others(found: Json, settings: KubernetesApp) -> bool:
    """Whether somebody scaled it to 0 without deployd, and no autoscaler did."""
    mine = annotations_of(found).get(SCALED) or annotations_of(found).get(REPLICAS)
    return bool(settings.create and found["spec"].get("replicas", 1) == 0 and mine != "0")


def overridden(found: Json, container: str) -> list[str]:
    """A warning for each change of somebody else that the next deploy replaces."""
    image = image_of(found["spec"]["template"], container)
    if IMAGE in annotations_of(found) and changed_by_others(found, container):
        return [f"somebody else set the image to {image}: this deploy replaces it"]
    return []


def annotations_of(found: Json | None) -> dict[str, str]:
    """The annotations of a Deployment; empty when there is none."""
    annotations: dict[str, str] = (found or {}).get("metadata", {}).get("annotations", {})
    return annotations
