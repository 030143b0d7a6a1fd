"""HAProxy's container: that it runs, and how one of a newer image or another shape takes over without losing a connection.

On the host network (Linux) it binds the ports itself and is reached over a socket in the state directory. On a bridge (Docker
Desktop) its ports are published and its master CLI is published on loopback; there, a new port or image means a short gap, and
the CLI is open to the other containers of the instance's network. The bridge is tested on a Linux engine, not on Docker Desktop.
"""

import asyncio
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deployd.config.daemon import GatewaySection
from deployd.engine.client import EngineClient
from deployd.errors import Unavailable
from deployd.gateway.network import Network
from deployd.gateway.plan import SHAPE_LABEL, SOCKETS_LABEL, Plan, container_spec, shape
from deployd.gateway.runtime import Runtime
from deployd.gateway.text import CONTROL_PORT, SOCKETS

_START_SECONDS = 20.0


class GatewayContainer:
    """The container of one instance. Not safe for concurrent use: the Gateway serialises."""

    def __init__(self, engine: EngineClient, instance: str, section: GatewaySection, directory: Path) -> None:
        self._engine = engine
        self._instance = instance
        self._section = section
        self._directory = directory
        self._network = Network(engine, instance)
        self.bridge = False

    async def decide_network(self) -> None:
        """Set `bridge`: what the config says, else a bridge only on Docker Desktop, whose host network is a hidden machine's."""
        if self._section.network == "auto":
            self.bridge = (await self._engine.info()).get("OperatingSystem") == "Docker Desktop"
        else:
            self.bridge = self._section.network == "bridge"

    async def find(self) -> Mapping[str, Any] | None:
        """The container as the engine describes it, None when there is none."""
        found = await self._engine.containers.inspect(self._plan(()).name)
        if found is not None and found["Config"]["Labels"].get("io.deployd.instance") != self._instance:
            raise Unavailable(
                f"the container {self._plan(()).name} is not this deployd's gateway",
                hint="remove or rename it, or set another server.instance",
            )
        return found

    async def up(self) -> bool:
        """The container runs, so that HAProxy has something to say; one that ends again and again does not."""
        found = await self.find()
        return found is not None and found["State"]["Running"] and not found["State"]["Restarting"]

    async def ensure(self, ports: Iterable[int]) -> bool:
        """The container runs and HAProxy answers; True when it had to be started or made."""
        found = await self.find() or await self._returned()
        if found is not None and self.bridge and not set(ports) <= {port for port, _ in _published(found)}:
            await self.upgrade(ports)
            return True
        if found is not None and found["State"]["Restarting"]:
            await self._image_id()
            await self._remove(found["Id"])
            found = None
        if found is not None and found["State"]["Running"]:
            await self.wait_ready()
            return False
        if found is None:
            await self._create(self._plan(ports))
        await self._engine.containers.start(self._plan(()).name)
        await self.wait_ready()
        return True

    async def runtime(self) -> Runtime:
        """How HAProxy is spoken to."""
        found = await self.find()
        if found is None:
            raise Unavailable("the gateway's container is gone")
        return self._runtime(found)

    async def retired(self) -> list[Runtime]:
        """The HAProxy that was replaced and still finishes with its clients, if there is one."""
        found = await self._old()
        return [self._runtime(found)] if found is not None and found["State"]["Running"] else []

    async def outdated(self, ports: Iterable[int]) -> bool:
        """The one that runs is of another image than the configured name means, or of another shape."""
        if (found := await self.find()) is None:
            return False
        plan = self._plan(ports)
        fits = found["Config"]["Labels"].get(SHAPE_LABEL) == shape(plan)
        if self.bridge:
            fits = fits and set(plan.ports) <= _published(found)
        return not fits or await self._image_id() != found["Image"]

    async def upgrade(self, ports: Iterable[int]) -> None:
        """Put a container as configured in the running one's place; on the host network no connection is lost.

        One that does not come up goes again, and the former one serves on.
        """
        await self._image_id()
        if (old := await self._old()) is not None:
            await self._remove(old["Id"])
        if (found := await self.find()) is None:
            await self.ensure(ports)
            return
        beside, before = not self.bridge and _on_host(found), found["Config"]["Labels"][SOCKETS_LABEL]
        sockets = "sockets-b" if before == "sockets-a" else "sockets-a"
        plan = self._plan(ports, sockets=sockets, takes_over=_sockets(found) if beside else None)
        await self._engine.containers.rename(found["Id"], f"{plan.name}-old")
        try:
            if not beside:  # it has the ports
                await self._engine.containers.stop(found["Id"], 1)
            await self._create(plan)
            await self._engine.containers.start(plan.name)
            await self.wait_ready(made=True)
        except BaseException:
            await self._give_back(plan, found["Id"], stopped=not beside)
            raise
        await (self._retire(found["Id"]) if beside else self._remove(found["Id"]))

    async def finish_retired(self) -> None:
        """Let a replaced container come to its end, and remove it when it has; also one that a crash left half replaced."""
        if (found := await self._old()) is None:
            return
        if not found["State"]["Running"]:
            await self._remove(found["Id"])
        elif found["HostConfig"]["RestartPolicy"]["Name"] == "always":
            await self._retire(found["Id"])

    async def wait_ready(self, *, made: bool = False) -> None:
        """Until HAProxy answers; Unavailable with its last words when it does not. One just `made` has one try."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                while True:
                    try:
                        await (await self.runtime()).description()
                    except Unavailable:
                        await self._still_alive(made=made)
                        await asyncio.sleep(0.02)
                    else:
                        return
        except TimeoutError as exc:
            raise Unavailable("the gateway does not start", hint=await self.last_words()) from exc

    async def last_words(self) -> str:
        """What HAProxy printed last."""
        return await self._engine.containers.printed(self._plan(()).name, 10)

    async def remove(self) -> None:
        """Take it away: traffic ends."""
        for found in (await self._old(), await self.find()):
            if found is not None:
                await self._remove(found["Id"])
        for name in ("sockets-a", "sockets-b"):
            shutil.rmtree(self._directory / name, ignore_errors=True)

    def _plan(self, ports: Iterable[int], *, sockets: str = "sockets-a", takes_over: Path | None = None) -> Plan:
        section, publish = self._section, dict.fromkeys(ports, self._section.bind)
        if section.stats_port is not None:
            publish[section.stats_port] = "127.0.0.1"
        return Plan(
            instance=self._instance,
            image=section.image,
            directory=self._directory.absolute(),
            sockets=sockets,
            certificates=section.certificates,
            network=self._network.name if self.bridge else None,
            ports=tuple(sorted(publish.items())),
            takes_over=takes_over,
        )

    def _runtime(self, found: Mapping[str, Any]) -> Runtime:
        if _on_host(found):
            return Runtime(_sockets(found) / "master.sock")
        published = (found["NetworkSettings"]["Ports"] or {}).get(f"{CONTROL_PORT}/tcp")
        if not published:
            raise Unavailable("the gateway is not running")
        return Runtime(("127.0.0.1", int(published[0]["HostPort"])))

    async def _create(self, plan: Plan) -> None:
        (self._directory / plan.sockets).mkdir(parents=True, exist_ok=True)
        await self._image_id()
        if plan.network is not None:
            await self._network.ensure()
        await self._engine.containers.create(plan.name, container_spec(plan))

    async def _image_id(self) -> str:
        """The id of the configured image, pulled where it is not there."""
        name = self._section.image
        if (image := await self._engine.images.inspect(name)) is None:
            await self._engine.images.pull(name)
            image = await self._engine.images.inspect(name)
        if image is None:
            raise Unavailable(f"the gateway's image {name} does not stay on the engine")
        return str(image["Id"])

    async def _retire(self, container_id: str) -> None:
        """It takes no more connections, ends when its last client is done, and is not started again."""
        await self._engine.containers.update(container_id, {"RestartPolicy": {"Name": "no"}})
        await self._engine.containers.kill(container_id, "SIGUSR1")

    async def _returned(self) -> Mapping[str, Any] | None:
        """The container that an upgrade had begun to replace when it was interrupted, with its name given back."""
        if (old := await self._old()) is not None:
            await self._engine.containers.rename(old["Id"], self._plan(()).name)
        return await self.find()

    async def _give_back(self, plan: Plan, old: str, *, stopped: bool) -> None:
        """An upgrade did not start: the old container, which still serves unless it was stopped, gets its name again."""
        if (found := await self.find()) is not None and found["Id"] != old:
            await self._remove(found["Id"])
        await self._engine.containers.rename(old, plan.name)
        if stopped:
            await self._engine.containers.start(old)

    async def _old(self) -> Mapping[str, Any] | None:
        found = await self._engine.containers.inspect(f"{self._plan(()).name}-old")
        ours = found is not None and found["Config"]["Labels"].get("io.deployd.instance") == self._instance
        return found if ours else None

    async def _still_alive(self, *, made: bool) -> None:
        found = await self.find()
        ended = found is None or not (found["State"]["Running"] or found["State"]["Restarting"])
        if found is None or ended or (made and found["RestartCount"]):
            raise Unavailable("the gateway ended", hint=await self.last_words() if found else "")

    async def _remove(self, container_id: str) -> None:
        await self._engine.containers.remove(container_id)


def _published(found: Mapping[str, Any]) -> set[tuple[int, str]]:
    """The ports that a container publishes, with the addresses that they are bound to."""
    bindings = (found["HostConfig"]["PortBindings"] or {}).items()
    return {(int(port.partition("/")[0]), bound["HostIp"]) for port, all_bound in bindings for bound in all_bound}


def _on_host(found: Mapping[str, Any]) -> bool:
    return bool(found["HostConfig"]["NetworkMode"] == "host")


def _sockets(found: Mapping[str, Any]) -> Path:
    """The directory of a container's sockets, as the engine's host has it."""
    mounts = (bind.split(":") for bind in found["HostConfig"]["Binds"])
    return next(Path(mount[0]) for mount in mounts if mount[1] == SOCKETS)
