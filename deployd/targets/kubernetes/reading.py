"""A file of a candidate's image, read in its pod: deployd does not have the image itself."""

from deployd.ports.gate import Candidate
from deployd.targets.kubernetes import execute, manifests, proof, watching
from deployd.targets.kubernetes.client import Json
from deployd.targets.kubernetes.deployment import AppDeployment
from deployd.targets.kubernetes.verdict import pods_of


async def read(deployment: AppDeployment, candidate: Candidate, path: str) -> bytes | None:
    """The file by its `path` from the working directory; None when there is none, or no pod to read it in."""
    found, content = await deployment.cluster.find(deployment.path), bytearray()
    container = deployment.container_of(found)

    async def take(data: bytes) -> None:
        content.extend(data)

    for pod in await _pods(deployment, candidate, found, container):
        if pod.get("status", {}).get("phase") == "Running":
            where = manifests.path(candidate.app, "pods", pod["metadata"]["name"])
            code = await execute.run(deployment.cluster, where, container, ["cat", path], take)
            return bytes(content) if code == 0 else None
    return None


async def _pods(deployment: AppDeployment, candidate: Candidate, found: Json | None, container: str) -> list[Json]:
    app, deploy = candidate.app, candidate.deploy
    if deploy.prove:
        pods = manifests.collection(app, "pods")
        return await deployment.cluster.items(pods, labelSelector=proof.selector(app.name, deploy.number))
    if found is None:
        return []
    view = await watching.view_of(deployment, found)
    return pods_of(view, container, candidate.image.reference, present=True)
