"""Why a pod does not answer at its port, asked in the pod itself."""

import asyncio

from deployd.errors import DeploydError
from deployd.targets.kubernetes import execute, manifests
from deployd.targets.kubernetes.deployment import AppDeployment
from deployd.targets.listening import TABLES, Silence, parse, silence

# The return to the good release waits for the answer, and a node that hangs gives none.
_WITHIN_S = 5.0


async def find(deployment: AppDeployment, pod: str) -> Silence | None:
    """Why the pod of that name does not answer its probes; None when nobody can tell, as without the right to run a command in
    it."""
    printed, where = bytearray(), manifests.path(deployment.app, "pods", pod)

    async def take(data: bytes) -> None:
        printed.extend(data)

    try:
        async with asyncio.timeout(_WITHIN_S):
            container = deployment.container_of(await deployment.cluster.find(deployment.path))
            code = await execute.run(deployment.cluster, where, container, ["cat", *TABLES], take)
    except (DeploydError, TimeoutError):
        return None
    table = parse(printed.decode(errors="replace")) if code == 0 else None
    return silence(deployment.settings.port, table, [], "app.kubernetes")
