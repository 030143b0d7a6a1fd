"""Proves a commit on Kubernetes in a separate pod, made from the template that its release would have.

The pod has none of the labels by which a Service or a ReplicaSet of the app chooses its pods, so it gets no traffic and belongs
to nobody. It ends for good with its container, and is removed however the proof ends; `sweep` removes what a crash left.
"""

import asyncio
import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NoReturn

from msgspec import structs

from deployd.config.app import App
from deployd.domain import Deploy, Image
from deployd.errors import DeploydError, RolloutFailed
from deployd.ports.gate import Candidate, Serving
from deployd.ports.log import Log
from deployd.ports.target import Progress
from deployd.probe import headers_of
from deployd.targets.kubernetes import manifests, notices, watching
from deployd.targets.kubernetes.candidate import address_of
from deployd.targets.kubernetes.client import Cluster, Json
from deployd.targets.kubernetes.deployment import AppDeployment
from deployd.targets.kubernetes.informer import Informer, running
from deployd.targets.kubernetes.manifests import DEPLOY, INSTANCE, MANAGED_BY
from deployd.targets.kubernetes.output import last_lines
from deployd.targets.kubernetes.releases import Release, Releases
from deployd.targets.kubernetes.symptoms import Severity, Symptom, of_pod, worst_symptom
from deployd.targets.registry import Registry
from deployd.tasks import first, uninterrupted

PROOF = "io.deployd.proof"

_ENDED = frozenset({"Failed", "Succeeded"})
_GRACE_S = 2
_LAST_LINES = 20


def selector(app: str, number: int) -> str:
    """The label selector of the pod in which a deploy is proven, for a query."""
    return f"{PROOF}={app},{DEPLOY}={number}"


def pod_of(app: App, deploy: Deploy, template: Json, container: str, image: str, instance: str) -> Json:
    """The pod that runs `image` in the container of `template`. Pure."""
    namespace, name = manifests.names(app)
    spec: Json = copy.deepcopy(template["spec"])
    spec |= {"restartPolicy": "Never", "terminationGracePeriodSeconds": _GRACE_S}
    for item in spec["containers"]:
        item.pop("lifecycle", None)  # it waits until the pod gets no more requests, and this one gets none
        if item["name"] == container:
            item["image"] = image
    labels = {PROOF: app.name, INSTANCE: instance, DEPLOY: str(deploy.number)} | MANAGED_BY
    meta = {"generateName": f"{name}-proof-{deploy.number}-", "namespace": namespace, "labels": labels}
    if annotations := template["metadata"].get("annotations"):
        meta["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


async def sweep(cluster: Cluster, app: App, instance: str, spared: int | None, log: Log) -> None:
    """Remove the pods of proofs that a crash left; that of deploy `spared` is under way."""
    pods = manifests.collection(app, "pods")
    found = await cluster.get(pods, labelSelector=f"{PROOF}={app.name},{INSTANCE}={instance}")
    for pod in found.get("items", []):
        if pod["metadata"]["labels"][DEPLOY] != str(spared) and not pod["metadata"].get("deletionTimestamp"):
            log.write(f"the pod {pod['metadata']['name']} of an interrupted proof is removed\n")
            await cluster.delete(f"{pods}/{pod['metadata']['name']}")


class Proof:
    """Proves one image. Use once."""

    def __init__(
        self, deployment: AppDeployment, deploy: Deploy, progress: Progress, releases: Releases, instance: str
    ) -> None:
        self._deployment = deployment
        self._cluster = deployment.cluster
        self._app = deployment.app
        self._deploy = deploy
        self._progress = progress
        self._releases = releases
        self._instance = instance

    async def run(self, image: Image, registry: Registry) -> None:
        """See ports.Target.prove."""
        async with self._progress.step("push"):
            image = await registry.push(image, self._progress.log)
            await self._progress.pushed(image)
        found, _ = await self._deployment.examine()
        file = self._deployment.settings.patch
        patch = await self._progress.read(file) if file is not None else None
        log = self._progress.log
        release = await self._deployment.new_release(self._deploy, image, found, patch=patch, log=log)
        template = release.template or (found or {})["spec"]["template"]
        pod = pod_of(self._app, self._deploy, template, release.container, release.image, self._instance)
        try:
            with notices.told_to(log.write):
                await self._prove(pod, release, image)
        finally:
            await uninterrupted(self._remove(release))

    async def _prove(self, pod: Json, release: Release, image: Image) -> None:
        settings = self._deployment.settings
        async with _following(self._cluster, self._app, self._deploy) as follower:
            try:
                async with self._progress.step("candidate"):
                    await sweep(self._cluster, self._app, self._instance, None, self._progress.log)
                    await self._deployment.write_secret()
                    made = await self._cluster.create(manifests.collection(self._app, "pods"), pod)
                    follower.uid = made["metadata"]["uid"]
                    self._progress.log.write(f"started the pod {made['metadata']['name']}, outside of every Service\n")
                    _, up = await first(follower.failed(settings.patience), follower.up(settings.progress_deadline))
                port = settings.port
                if settings.create:
                    port = manifests.port_of({"spec": pod["spec"]}, release.container, port)
                async with address_of(self._cluster, up, port) as address, self._serving(image) as live:
                    headers = headers_of(self._app, secure=False)
                    candidate = Candidate(self._app, self._deploy, address, image, headers, live)
                    await first(follower.failed(settings.patience), self._progress.prove(candidate))
            except RolloutFailed as failed:
                raise await self._explained(failed, follower.pod, release.container) from failed

    @asynccontextmanager
    async def _serving(self, image: Image) -> AsyncIterator[Serving | None]:
        """The release that serves meanwhile, reachable inside the block; None when nothing serves."""
        record = await asyncio.to_thread(self._releases.read, self._app.name)
        good = record.last if record is not None else None
        if good is None or good.number is None:
            yield None
            return
        release = structs.replace(self._deploy, number=good.number, image=image)
        async with watching.asked(self._deployment, record, release) as asked:
            yield Serving(good.number, asked.address) if asked is not None else None

    async def _explained(self, failed: RolloutFailed, pod: Json | None, container: str) -> RolloutFailed:
        """The failure with the last lines that the container printed."""
        if pod is None:
            return failed
        path = manifests.path(self._app, "pods", pod["metadata"]["name"])
        lines = (await last_lines(self._cluster, path, container, _LAST_LINES)).strip()
        if not lines:
            return failed
        self._progress.log.write(f"last lines of {pod['metadata']['name']}:\n{lines}\n")
        return failed if failed.hint else RolloutFailed(failed.message, hint="\n".join(lines.splitlines()[-10:]))

    async def _remove(self, release: Release) -> None:
        """Remove the pod, and its Secret if no release needs it. After a failure, the next sweep does it."""
        try:
            pods = manifests.collection(self._app, "pods")
            found = await self._cluster.get(pods, labelSelector=selector(self._app.name, self._deploy.number))
            for pod in found.get("items", []):
                await self._cluster.delete(f"{pods}/{pod['metadata']['name']}")
            record = await asyncio.to_thread(self._releases.read, self._app.name)
            await self._deployment.remove_secrets([release], record.releases if record is not None else ())
        except DeploydError as exc:
            self._progress.log.write(f"the pod of this proof is left for the next sweep: {exc}\n")


class _Follower:
    """Follows the one pod of a proof."""

    def __init__(self, cluster: Cluster, app: App, deploy: Deploy) -> None:
        chosen = selector(app.name, deploy.number)
        pods, events = manifests.collection(app, "pods"), manifests.collection(app, "events")
        self._news = asyncio.Event()  # a new one after each change, so that no waiter takes it from another
        self._pods = Informer(cluster, pods, self._tell, labelSelector=chosen)
        self._events = Informer(cluster, events, self._tell, fieldSelector="involvedObject.kind=Pod")
        self.informers = (self._pods, self._events)
        self.uid = ""  # of the pod, once it is made
        self.pod: Json | None = None  # as it was seen last

    async def up(self, within: float) -> Json:
        """Wait until the pod runs and has an address; RolloutFailed when that takes more than `within` seconds."""
        try:
            async with asyncio.timeout(within):
                while True:
                    news, pod = self._news, self._pod_now()
                    if pod is not None and _runs(pod):
                        return pod
                    await news.wait()
        except TimeoutError as exc:
            worst = worst_symptom(self._symptoms())
            because = f": {worst.reason}" if worst is not None else ""
            raise RolloutFailed(f"its pod does not run after {within:g} s{because}") from exc

    async def failed(self, patience: float) -> NoReturn:
        """RolloutFailed once the pod has ended or is gone, cannot start, or has failed to for `patience` seconds."""
        loop, since = asyncio.get_running_loop(), dict[tuple[str, str], float]()
        while True:
            news, pod = self._news, self._pod_now()
            if pod is None and self.pod is not None and self._pods.fresh:
                raise RolloutFailed("somebody removed its pod", hint="prove it again")
            symptoms, left = self._symptoms(), None
            if pod is not None and pod.get("status", {}).get("phase") in _ENDED:
                raise RolloutFailed(symptoms[0].reason if symptoms else "its container ended")
            found = [one for one in symptoms if one.kind is not Severity.TRANSIENT]
            since = {one.key: since.get(one.key, loop.time()) for one in found}
            for one in found:
                left = since[one.key] + patience - loop.time()
                if one.kind is Severity.PERMANENT or left <= 0:
                    raise RolloutFailed(one.reason)
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await news.wait()

    def _pod_now(self) -> Json | None:
        for informer in self.informers:
            if informer.failure is not None:
                raise informer.failure
        pod = self._pods.objects.get(self.uid)
        if pod is not None and pod["metadata"].get("deletionTimestamp"):
            return None
        self.pod = pod or self.pod
        return pod

    def _symptoms(self) -> list[Symptom]:
        return of_pod(self.pod, list(self._events.objects.values())) if self.pod is not None else []

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


@asynccontextmanager
async def _following(cluster: Cluster, app: App, deploy: Deploy) -> AsyncIterator[_Follower]:
    """Follow the pod of the deploy's proof inside the block."""
    follower = _Follower(cluster, app, deploy)
    async with running(*follower.informers):
        yield follower


def _runs(pod: Json) -> bool:
    status: Json = pod.get("status", {})
    return bool(status.get("podIP")) and status.get("phase") == "Running"
