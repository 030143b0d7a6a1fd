"""How a release is on Kubernetes: whether its Deployment asks for what deployd wrote, and how many of its pods are available."""

from deployd.domain import Deploy, Health
from deployd.targets.kubernetes.deployment import AppDeployment
from deployd.targets.kubernetes.others import asks_for, other_release, stopped_by_others
from deployd.targets.kubernetes.releases import Record
from deployd.targets.kubernetes.verdict import counts


async def health(deployment: AppDeployment, record: Record | None, deploy: Deploy) -> Health:
    """How the recorded live release is; `record` is what deployd remembers of the app on this cluster."""
    found = await deployment.cluster.find(deployment.path)
    if found is None:
        return Health("down", f"its Deployment {deployment.name} was deleted")
    good = record.last if record is not None else deployment.last_good(found, None)
    if good is None or good.number != deploy.number:
        return Health("down", f"the last good release on the cluster is {good.number if good else 'none'}")
    if not asks_for(found, good):
        return Health("down", other_release(found, good))
    if edited := await deployment.edited(found, good, deploy):
        return Health("down", edited)
    if stopped_by_others(found, deployment.settings):
        return Health("down", "somebody scaled its Deployment to 0")
    wanted, available = found["spec"].get("replicas", 1), found.get("status", {}).get("availableReplicas", 0)
    return Health("unready", counts(found)) if available < wanted else Health()
