"""Removes deployd's objects of an app from a cluster, and its annotations from a Deployment of somebody else."""

from deployd.targets.kubernetes import environment, manifests
from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.manifests import DEPLOY, LAST_GOOD
from deployd.targets.kubernetes.pace import pace_patch
from deployd.targets.kubernetes.releases import Place, Record


async def leave(cluster: Cluster, record: Record, instance: str) -> None:
    """Delete the objects of an app that the `instance` created; else remove our annotations from its Deployment."""
    place = record.place
    if place.created:
        await delete_ours(cluster, place, instance)
    else:
        path = f"/apis/apps/v1/namespaces/{place.namespace}/deployments/{place.deployment}"
        if (found := await cluster.find(path)) is not None:
            if operations := pace_patch(found, None):  # a canary was killed
                await cluster.patch(path, operations)
            ours = dict.fromkeys((DEPLOY, LAST_GOOD, manifests.COMMIT, manifests.MODEL, manifests.IMAGE), None)
            await cluster.merge(path, {"metadata": {"annotations": ours}})
    templates = [release.template for release in record.releases]
    await environment.remove(cluster, place, templates, [])


async def delete_ours(cluster: Cluster, place: Place, instance: str) -> None:
    """Delete autoscaler, Service and Deployment, in this order, each only if it carries our label."""
    for group, plural in (
        ("/apis/autoscaling/v1", "horizontalpodautoscalers"),
        ("/api/v1", "services"),
        ("/apis/apps/v1", "deployments"),
    ):
        path = f"{group}/namespaces/{place.namespace}/{plural}/{place.deployment}"
        found = await cluster.find(path)
        if found is not None and found["metadata"].get("labels", {}).get(manifests.INSTANCE) == instance:
            await cluster.delete(path)
            if plural == "deployments":
                await environment.remove(cluster, place, [found["spec"]["template"]], [])
