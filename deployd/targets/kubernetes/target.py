"""The Target for apps on Kubernetes: it patches a Deployment, follows the rollout, and restores the release before when it fails.

Ties this package together, and does what a person asks of a running app. Imported only when an app needs it, since the client
library is large. A cluster is opened when an app first uses it; all are closed together.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from deployd.config.app import App
from deployd.config.daemon import Config
from deployd.domain import Deploy, Health, Image
from deployd.errors import ConfigError, DeploydError, RequestRefused
from deployd.judge.traffic import Reading
from deployd.ports.gate import Candidate
from deployd.ports.log import Log
from deployd.ports.target import Changed, InFlight, Progress, none_in_flight
from deployd.ports.watching import Lives
from deployd.targets.kubernetes import (
    access,
    describe,
    environment,
    execute,
    manifests,
    output,
    proof,
    reading,
    watching,
)
from deployd.targets.kubernetes.adoption import selector_of
from deployd.targets.kubernetes.answers import Refused
from deployd.targets.kubernetes.client import Cluster, Json
from deployd.targets.kubernetes.deployment import AppDeployment
from deployd.targets.kubernetes.health import health
from deployd.targets.kubernetes.others import asks_for, changed_by_others
from deployd.targets.kubernetes.releases import Releases
from deployd.targets.kubernetes.removal import delete_ours, leave
from deployd.targets.kubernetes.restore import restore, restore_former
from deployd.targets.kubernetes.rollout import Rollout
from deployd.targets.kubernetes.symptoms import is_ready
from deployd.targets.kubernetes.watch import Watch
from deployd.targets.registry import Registry
from deployd.terminal import Terminal

logger = logging.getLogger(__name__)


class KubernetesTarget:
    """Use it as an async context manager. `state` is a directory that survives restarts."""

    def __init__(self, config: Config, state: Path) -> None:
        if config.registry is None:
            raise ConfigError("registry: apps on Kubernetes need a table [registry]")
        self._instance = config.server.identity
        self._registry = Registry(config.registry)
        self._releases = Releases(state)
        self._named = {self._where(app) for app in config.app if app.kubernetes is not None}
        self._clusters: dict[tuple[str | None, str | None], Cluster] = {}
        self._watch = Watch(self._cluster)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._clusters.clear()
        await self._stack.aclose()

    async def require(self, app: App) -> None:
        """See ports.Target."""
        environment.secrets_of(app)

    async def roll_out(self, app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        """See ports.Target. Unlike there, after the patch a cancellation restores the release before: a rollout takes minutes."""
        await Rollout(await self._app_deployment(app), deploy, progress, self._releases).run(image, self._registry)

    async def prove(self, app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        """See ports.Target: in a pod outside of the app's Service."""
        deployment = await self._app_deployment(app)
        await proof.Proof(deployment, deploy, progress, self._releases, self._instance).run(image, self._registry)

    async def serving(self, app: App) -> int | None:
        """The deploy of the last good release, if the Deployment asks for it. None while the Deployment asks for an unproven
        release, even if pods of the good one still serve: the caller then has to restore the good one."""
        deployment = await self._app_deployment(app)
        found = await deployment.cluster.find(deployment.path)
        if found is None or not found.get("status", {}).get("availableReplicas"):
            return None
        record = await asyncio.to_thread(self._releases.read, app.name)
        good = record.last if record is not None else deployment.last_good(found, None)
        if good is None or good.number is None:
            return None
        if asks_for(found, good):
            return good.number
        if changed_by_others(found, good.container):
            logger.warning("Somebody else changed the image of Deployment %s/%s", *manifests.names(app))
        return None

    async def health(self, app: App, deploy: Deploy) -> Health:
        """See ports.Target. Kubernetes itself replaces pods that end: `unready`."""
        record = await asyncio.to_thread(self._releases.read, app.name)
        return await health(await self._app_deployment(app), record, deploy)

    async def traffic(self, app: App, number: int) -> Reading:  # noqa: ARG002 - the port's signature
        """See ports.Target: a cluster counts no requests."""
        return {}

    async def has(self, image: Image) -> bool:
        """See ports.Target."""
        return image.digest is not None and await self._registry.has(image)

    async def restore(self, app: App, deploy: Deploy) -> bool:
        """See ports.Target."""
        return await restore(await self._app_deployment(app), self._releases, deploy)

    async def lives(self, app: App, deploy: Deploy) -> Lives:
        """See ports.Target. The release before has no pods."""
        record = await asyncio.to_thread(self._releases.read, app.name)
        return await watching.lives(await self._app_deployment(app), record, deploy)

    @asynccontextmanager
    async def asked(self, app: App, deploy: Deploy) -> AsyncIterator[Candidate | None]:
        """See ports.Target."""
        record = await asyncio.to_thread(self._releases.read, app.name)
        async with watching.asked(await self._app_deployment(app), record, deploy) as candidate:
            yield candidate

    async def return_traffic(self, app: App, deploy: Deploy) -> None:
        """See ports.Target. It is a rollout of the stored template, which takes as long as its pods."""
        await self.restore(app, deploy)

    async def sweep(
        self,
        app: App,
        keep: int | None,
        log: Log,
        in_flight: InFlight = none_in_flight,
        *,
        standby: int | None = None,  # noqa: ARG002 - it has no pods
    ) -> None:
        """Kubernetes itself drains and removes old pods. With no release to keep, remove what an unproven first deploy left: the
        Deployment that deployd created, or its image in somebody else's. A release that was good stays even then: only a deployd
        that has lost its state asks for its removal."""
        await proof.sweep(await self._cluster(app), app, self._instance, in_flight(), log)
        record = await asyncio.to_thread(self._releases.read, app.name)
        if keep is not None or record is None or record.taken_over:
            return
        if record.last is None and record.place.created:
            log.write("the unfinished Deployment is removed\n")
            await delete_ours(await self._cluster(app), record.place, self._instance)
        elif record.last is not None and record.last.number is None:
            await restore_former(await self._app_deployment(app), record.last, log)

    async def remove(self, app: str) -> None:
        """Delete the objects that deployd created; remove our annotations from a Deployment that it did not create."""
        if (record := await asyncio.to_thread(self._releases.read, app)) is not None:
            cluster = await self._open(record.place.kubeconfig, record.place.context)
            await leave(cluster, record, self._instance)
            await asyncio.to_thread(self._releases.forget, app)

    async def output(
        self, app: App, *, follow: bool, tail: int | None, since: datetime | None = None
    ) -> AsyncGenerator[bytes]:
        """The output of all pods, each line after its pod's name."""
        with _refused_as_409():
            cluster, found = await self._existing(app)
            read = output.followed if follow else output.printed
            pods = manifests.collection(app, "pods")
            container = (await self._app_deployment(app)).container_of(found)
            async with aclosing(read(cluster, pods, selector_of(found), container, output.start(tail, since))) as lines:
                async for line in lines:
                    yield line

    async def describe(self, app: App) -> Mapping[str, Any]:
        """Labels, selector, ReplicaSets, pods, addresses and the last events."""
        with _refused_as_409():
            cluster, found = await self._existing(app)
            chosen = selector_of(found)
            replica_sets = await cluster.items(manifests.collection(app, "replicasets"), labelSelector=chosen)
            pods = await cluster.items(manifests.collection(app, "pods"), labelSelector=chosen)
            events = await cluster.items(manifests.collection(app, "events"))
            about = {item["metadata"]["uid"] for item in (found, *replica_sets, *pods)}
            related = [event for event in events if event.get("involvedObject", {}).get("uid") in about]
            service = await cluster.find(manifests.path(app, "services"))
            scaler = await cluster.find(manifests.autoscaler_path(app, manifests.Features(0, autoscaling_v2=False)))
            return describe.described(found, replica_sets, pods, related, service, scaler)

    async def execute(
        self,
        app: App,
        command: Sequence[str],
        out: Callable[[bytes], Awaitable[None]],
        terminal: Terminal | None = None,
    ) -> int:
        """Run a command in a ready pod of the app."""
        with _refused_as_409():
            cluster, found = await self._existing(app)
            pods = await cluster.items(manifests.collection(app, "pods"), labelSelector=selector_of(found))
            ready = [pod for pod in pods if is_ready(pod) and not pod["metadata"].get("deletionTimestamp")]
            if not ready:
                raise RequestRefused(409, f"{app.name} has no ready pod", hint=f"deployd describe {app.name}")
            container = (await self._app_deployment(app)).container_of(found)
            path = manifests.path(app, "pods", ready[0]["metadata"]["name"])
            return await execute.run(cluster, path, container, command, out, terminal)

    async def read(self, candidate: Candidate, path: str) -> bytes | None:
        """A file of a candidate's image, by its path from the working directory; None when there is none."""
        return await reading.read(await self._app_deployment(candidate.app), candidate, path)

    async def scale(self, app: App, replicas: int) -> None:
        """Set the number of replicas; later deploys keep it until the configured number changes."""
        with _refused_as_409():
            if app.kubernetes is not None and app.kubernetes.autoscale is not None:
                raise RequestRefused(
                    409, f"{app.name} is scaled by its autoscaler", hint="change autoscale in the config"
                )
            await self._existing(app)
            await (await self._app_deployment(app)).scale(replicas)

    async def ping(self) -> Mapping[str, str]:
        """`cluster`: "ok", or the error of the first that does not answer."""
        for kubeconfig, context in sorted(self._named, key=str):
            try:
                async with asyncio.timeout(5):
                    await (await self._open(kubeconfig, context)).get("/version")
            except (DeploydError, TimeoutError) as exc:
                return {"cluster": str(exc) or "does not answer within 5 s"}
        return {"cluster": "ok"}

    async def missing(self, app: App) -> list[str]:
        """The permissions that deploys of the app need and the account lacks: `patch deployments`."""
        with _refused_as_409():
            return await access.missing(await self._cluster(app), app)

    async def missing_for_proofs(self, app: App) -> list[str]:
        """The permissions that `deployd prove` needs besides those, and the account lacks."""
        with _refused_as_409():
            return await access.missing_for_proofs(await self._cluster(app), app)

    async def missing_for_commands(self, app: App) -> list[str]:
        """The permissions that `deployd exec` needs, and the account lacks."""
        with _refused_as_409():
            return await access.missing_for_commands(await self._cluster(app), app)

    def expect(self, apps: Iterable[App]) -> None:
        """Set the configured apps; `watch` follows their Deployments."""
        self._watch.expect(app for app in apps if app.target == "kubernetes")

    async def watch(self, changed: Changed) -> None:
        """See ports.Target. Kubernetes itself replaces pods that end."""
        await self._watch.serve(changed)

    async def _existing(self, app: App) -> tuple[Cluster, Json]:
        cluster = await self._cluster(app)
        found = await cluster.find(manifests.path(app))
        if found is None:
            raise RequestRefused(
                409, f"{app.name} does not run yet: there is no Deployment {'/'.join(manifests.names(app))}"
            )
        return cluster, found

    async def _app_deployment(self, app: App) -> AppDeployment:
        return AppDeployment(await self._cluster(app), app, self._instance)

    async def _cluster(self, app: App) -> Cluster:
        return await self._open(*self._where(app))

    async def _open(self, kubeconfig: str | None, context: str | None) -> Cluster:
        if (kubeconfig, context) not in self._clusters:
            self._clusters[kubeconfig, context] = Cluster(kubeconfig, context)
            await self._stack.enter_async_context(self._clusters[kubeconfig, context])
        return self._clusters[kubeconfig, context]

    @staticmethod
    def _where(app: App) -> tuple[str | None, str | None]:
        settings = manifests.settings_of(app)
        return settings.kubeconfig, settings.context


@contextmanager
def _refused_as_409() -> Iterator[None]:
    """Outside of a roll-out, a refusal by the API server refuses the caller's request."""
    try:
        yield
    except Refused as refused:
        raise RequestRefused(409, refused.message, hint=refused.hint) from refused
