"""The pods of the live release while it is watched: their state, and an address of one of them. The release before has no
pods."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deployd.config.app import App
from deployd.domain import Deploy
from deployd.ports.gate import Candidate
from deployd.ports.watching import Life, Lives
from deployd.probe import headers_of
from deployd.targets.kubernetes import manifests
from deployd.targets.kubernetes.adoption import selector_of
from deployd.targets.kubernetes.candidate import address_of
from deployd.targets.kubernetes.client import Json
from deployd.targets.kubernetes.deployment import AppDeployment
from deployd.targets.kubernetes.others import asks_for
from deployd.targets.kubernetes.releases import Record
from deployd.targets.kubernetes.symptoms import is_ready, restarts_of
from deployd.targets.kubernetes.verdict import View, pods_of

_KILLED = 128 + signal.SIGKILL


async def lives(deployment: AppDeployment, record: Record | None, deploy: Deploy) -> Lives:
    """How the pods of a release are; none when it is not the one that the Deployment asks for."""
    pods, container = await _pods(deployment, record, deploy)
    return {pod["metadata"]["uid"]: life(pod, container) for pod in pods}


@asynccontextmanager
async def asked(deployment: AppDeployment, record: Record | None, deploy: Deploy) -> AsyncIterator[Candidate | None]:
    """A ready pod of a release in the form of a candidate, for its gates, inside the block; None when it has none."""
    pods, container = await _pods(deployment, record, deploy)
    pod = next((pod for pod in pods if is_ready(pod)), None)
    if pod is None or deploy.image is None:
        yield None
        return
    port = deployment.settings.port
    if deployment.settings.create:
        port = manifests.port_of({"spec": pod["spec"]}, container, port)
    async with address_of(deployment.cluster, pod, port) as address:
        app: App = deployment.app
        yield Candidate(app, deploy, address, deploy.image, headers_of(app, secure=False))


async def _pods(deployment: AppDeployment, record: Record | None, deploy: Deploy) -> tuple[list[Json], str]:
    """The pods of a release, and its container in them."""
    found = await deployment.cluster.find(deployment.path)
    release = record.find(deploy.number) if record is not None else None
    if found is None or release is None or not asks_for(found, release):
        return [], ""
    view = await view_of(deployment, found)
    return pods_of(view, release.container, release.image, present=True), release.container


async def view_of(deployment: AppDeployment, found: Json) -> View:
    """A Deployment as it was `found`, with its ReplicaSets and pods now."""
    app, cluster, chosen = deployment.app, deployment.cluster, selector_of(found)
    replica_sets = await cluster.items(manifests.collection(app, "replicasets"), labelSelector=chosen)
    return View(found, replica_sets, await cluster.items(manifests.collection(app, "pods"), labelSelector=chosen))


def life(pod: Json, container: str) -> Life:
    """The life of a pod, from the state of the app's container in it."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    ours: Json = next((status for status in statuses if status["name"] == container), {})
    ended = ours.get("state", {}).get("terminated") or ours.get("lastState", {}).get("terminated")
    name, running = f"pod {pod['metadata']['name']}", "running" in ours.get("state", {})
    how = ""
    if ended is not None:
        how = _how(ended, _memory_limit(pod, container))
    return Life(name, str(restarts_of(pod)), "" if running else how, how)


def _how(ended: Json, memory: str | None) -> str:
    """How a container ended. Not every kubelet learns in time that it lacked memory: then the limit is told beside the kill."""
    if ended.get("reason") == "OOMKilled":
        return "was killed for lack of memory"
    code = ended.get("exitCode")
    if code == _KILLED and memory is not None:
        return f"was killed (exited with code {code}; its memory limit is {memory})"
    return f"exited with code {code}"


def _memory_limit(pod: Json, container: str) -> str | None:
    ours: Json = next((one for one in pod["spec"]["containers"] if one["name"] == container), {})
    limits: dict[str, str] = (ours.get("resources") or {}).get("limits") or {}
    return limits.get("memory")
