"""A target with one Docker Engine and HAProxy: a new container is proven beside the old one, then the traffic is switched.

The order keeps the promise: what serves is not changed before the candidate has passed its gates; switch and record are one
uninterruptible step; only then does the old container drain. Which release serves is read from HAProxy and the engine, never
from memory, so a restarted daemon knows it, too.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from deployd.config.app import App
from deployd.config.daemon import GatewaySection
from deployd.config.values import read_secret
from deployd.domain import Deploy, Health, Image
from deployd.engine.client import EngineClient
from deployd.errors import DeploydError, RequestRefused
from deployd.gateway.gateway import Gateway
from deployd.judge.traffic import Reading
from deployd.ports.gate import Candidate
from deployd.ports.log import Log
from deployd.ports.target import Changed, InFlight, Made, Progress, none_in_flight
from deployd.ports.watching import Lives
from deployd.samples import Counted
from deployd.targets.docker import output
from deployd.targets.docker import standby as standbys
from deployd.targets.docker.container import AppContainer
from deployd.targets.docker.containers import Containers
from deployd.targets.docker.counted import counted
from deployd.targets.docker.drain import drain
from deployd.targets.docker.frontends import Frontends
from deployd.targets.docker.health import health
from deployd.targets.docker.restore import restore
from deployd.targets.docker.rollout import Rollout
from deployd.targets.docker.trial import Trial
from deployd.targets.docker.watch import Watch
from deployd.tasks import together
from deployd.terminal import Terminal


class DockerTarget:
    """Implements ports.Target for the apps of one instance. Use it as an async context manager."""

    def __init__(
        self, instance: str, section: GatewaySection, directory: Path, made: Made, docker_url: str | None = None
    ) -> None:
        """`made` is the record of the containers that the instance made."""
        self._engine = EngineClient(docker_url)
        self._docker_url = docker_url
        self._containers = Containers(self._engine, instance, made)
        self._gateway = Gateway(self._engine, instance, section, directory)
        self._trial = Trial(self._engine, instance, section.image)
        self._watch = Watch(docker_url, instance, self._correct, self._gateway.ping)
        self._frontends = Frontends(self._gateway)
        self._opened = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._engine.close()

    def expect(self, apps: Iterable[App]) -> None:
        """Set the configured apps. `watch` makes the gateway listen for them; an app without a release answers 503."""
        self._frontends.apps = tuple(app for app in apps if app.target == "docker")
        self._watch.notify()

    async def require(self, app: App) -> None:
        """See ports.Target."""
        for name, reference in app.docker.env_secrets.items():
            read_secret(reference, f"app.{app.name}.docker.env_secrets.{name}")
        await self._trial.of(app)

    async def roll_out(self, app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        """See ports.Target."""
        await self._open()
        await self._gateway.ensure([app])
        await self._gateway.use_configured_listeners()
        rollout = Rollout(app, deploy, image, progress, self._containers, self._gateway)
        if app.docker.start == "stop-first" and (old := await self._predecessor(app, deploy)) is not None:
            await rollout.stop_first(old)
        else:
            await rollout.start_first()

    async def prove(self, app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        """See ports.Target."""
        await self._open()
        await self._gateway.ensure([app])
        await Rollout(app, deploy, image, progress, self._containers, self._gateway).prove()

    async def serving(self, app: App) -> int | None:
        """See ports.Target."""
        await self._open()
        found = await self._serving(app)
        return found.number if found is not None else None

    async def health(self, app: App, deploy: Deploy) -> Health:
        """See ports.Target."""
        await self._open()
        if (unheard := self._frontends.unheard.get(app.name)) is not None:
            return Health("unready", f"the gateway does not listen for it: {unheard.message}")
        return await health(app, deploy, self._containers, self._gateway)

    async def traffic(self, app: App, number: int) -> Reading:
        """See ports.Target."""
        await self._open()
        found = await self._containers.find(app, number)
        if found is None or found.endpoint is None:
            return {}
        counted = await self._gateway.reading(app.name)
        return {place: counters for place, counters in counted.items() if place.address == str(found.endpoint)}

    async def counted(self, apps: Iterable[App]) -> Mapping[str, Counted]:
        """The gateway's counters for each of `apps` that it listens for; empty until the gateway was opened for another
        reason."""
        return await counted(apps, self._containers, self._gateway) if self._opened else {}

    async def has(self, image: Image) -> bool:
        """See ports.Target."""
        return await self._engine.images.inspect(image.id or image.reference) is not None

    async def restore(self, app: App, deploy: Deploy) -> bool:
        """See ports.Target. RolloutFailed when neither its container nor its image is left, or when it does not get ready."""
        await self._open()
        await self._gateway.ensure([app])
        return await restore(app, deploy, self._containers, self._gateway)

    async def lives(self, app: App, deploy: Deploy) -> Lives:
        """See ports.Target."""
        await self._open()
        return await standbys.lives(app, deploy, self._containers, self._engine)

    @contextlib.asynccontextmanager
    async def asked(self, app: App, deploy: Deploy) -> AsyncIterator[Candidate | None]:
        """See ports.Target."""
        await self._open()
        yield await standbys.asked(app, deploy, self._containers, self._gateway)

    async def return_traffic(self, app: App, deploy: Deploy) -> None:
        """See ports.Target. It takes one command of HAProxy."""
        await self._open()
        await standbys.return_traffic(app, deploy, self._containers, self._gateway)

    async def sweep(
        self,
        app: App,
        keep: int | None,
        log: Log,
        in_flight: InFlight = none_in_flight,
        *,
        standby: int | None = None,
    ) -> None:
        """See ports.Target."""
        await self._open()
        # In this order: a container that is found here, and whose deploy has ended meanwhile, serves by now or is left over.
        found = await self._containers.of(app)
        spared = {keep, standby, in_flight()}
        if (serving := await self._serving(app)) is not None:
            spared.add(serving.number)
        unused = [container for container in found if container.number not in spared]
        await together(*(drain(app, container, self._containers, self._gateway, log) for container in unused))

    async def remove(self, app: str) -> None:
        """See ports.Target."""
        await self._open()
        await self._gateway.forget(app)
        await together(*[self._stop_and_remove(*each) for each in (await self._containers.named(app)).items()])
        if not self._gateway.apps:
            await self._gateway.container.remove()
            await self._containers.network.remove()
            self._opened = False

    async def output(
        self, app: App, *, follow: bool, tail: int | None, since: datetime | None = None
    ) -> AsyncIterator[bytes]:
        """See ports.Target. Ends with the container; RequestRefused 409 when nothing runs."""
        container = await self._running(app)
        if follow:
            async with contextlib.aclosing(output.follow(self._docker_url, container.id, tail, since)) as chunks:
                async for chunk in chunks:
                    yield chunk
        else:
            yield (await self._engine.containers.printed(container.id, tail, since)).encode()

    async def describe(self, app: App) -> Mapping[str, Any]:
        """See ports.Target."""
        serving, sessions = await self.serving(app), await self._gateway.sessions(app.name)
        return {
            "target": "docker",
            "gateway": {
                "listen": app.gateway.listen,
                "hosts": app.gateway.hosts,
                "path_prefix": app.gateway.path_prefix,
                "strip_prefix": app.gateway.strip_prefix,
            },
            "serving": serving,
            "containers": [
                output.description(
                    inspected, container, sessions.get(container.endpoint, 0) if container.endpoint else 0
                )
                for container in await self._containers.of(app)
                if (inspected := await self._containers.inspect(container.id)) is not None
            ],
        }

    async def execute(
        self,
        app: App,
        command: Sequence[str],
        out: Callable[[bytes], Awaitable[None]],
        terminal: Terminal | None = None,
    ) -> int:
        """See ports.Target."""
        container = await self._running(app)
        return await self._engine.containers.execute(container.id, command, out, terminal)

    async def scale(self, app: App, replicas: int) -> None:  # noqa: ARG002 - the port's signature
        """See ports.Target."""
        raise RequestRefused(
            409,
            f"{app.name} runs on one Docker Engine and has no replicas",
            hint="an app with target = kubernetes has them",
        )

    async def ping(self) -> Mapping[str, str]:
        """See ports.Target."""
        gateway, trouble = await _health(self._gateway.ping()), self._gateway.certificates.trouble()
        trouble = "; ".join(
            [f"{name}: {exc.message}" for name, exc in self._frontends.unheard.items()] + ([trouble] if trouble else [])
        )
        if gateway == "ok" and trouble:
            gateway = f"warning: {trouble}"
        return {"engine": await _health(self._engine.ping()), "gateway": gateway}

    async def read(self, candidate: Candidate, path: str) -> bytes | None:
        """A file of a candidate's image, by its path from the image's working directory; None when it does not exist."""
        container = await self._containers.find(candidate.app, candidate.deploy.number)
        return await output.read(self._engine, container.id, path) if container is not None else None

    async def watch(self, changed: Changed) -> None:
        """See ports.Target: correct the gateway, also when a certificate is renewed, and tell of every container that starts or
        ends."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch.serve(changed))
            tasks.create_task(self._gateway.certificates.follow(self._watch.notify))

    async def _open(self) -> None:
        if not self._opened:
            await self._gateway.open()
            self._containers.published = self._gateway.container.bridge
            self._opened = True

    async def _correct(self) -> None:
        """Correct the gateway. New settings in [gateway] come last, since they may fail."""
        await self._open()
        await self._gateway.reconcile()
        await self._frontends.listen()
        await self._gateway.upgrade()
        self._frontends.raise_if_unheard()

    async def _serving(self, app: App) -> AppContainer | None:
        """The container that has the app's traffic."""
        endpoint = await self._gateway.serving(app.name)
        return next(
            (c for c in await self._containers.of(app) if c.endpoint is not None and c.endpoint == endpoint), None
        )

    async def _predecessor(self, app: App, deploy: Deploy) -> AppContainer | None:
        """The container that serves, else the newest that is left: it may run without traffic, or be needed again."""
        if (serving := await self._serving(app)) is not None:
            return serving
        others = [container for container in await self._containers.of(app) if container.number != deploy.number]
        return others[-1] if others else None

    async def _running(self, app: App) -> AppContainer:
        await self._open()
        if (container := await self._serving(app)) is None:
            hint = f"see deployd history {app.name}, or run deployd deploy {app.name}"
            raise RequestRefused(409, f"{app.name} has no running release", hint=hint)
        return container

    async def _stop_and_remove(self, container_id: str, name: str) -> None:
        await self._containers.stop(container_id)
        await self._containers.remove(container_id, name)


async def _health(asking: Awaitable[object]) -> str:
    try:
        await asking
    except DeploydError as exc:
        return exc.message
    return "ok"
