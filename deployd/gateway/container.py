"""HAProxy's container: what it is made of, that it runs, and how a newer image takes over without losing a connection.

On the host network (Linux) it binds the ports itself and is reached over a socket in the state directory. On a bridge (Docker
Desktop) its ports are published and its master CLI is published on loopback; there, a new port or image means a short gap, and
the CLI is open to the other containers of the instance's network. The bridge is tested on a Linux engine, not on Docker Desktop.
"""

import asyncio
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiodocker

from deployd.config.daemon import GatewaySection
from deployd.domain import part_labels
from deployd.engine import delete, inspect, request, translated
from deployd.errors import Unavailable
from deployd.gateway.network import Network
from deployd.gateway.runtime import Runtime
from deployd.gateway.text import CERTIFICATES, CONFIG, CONTROL_PORT, SOCKETS

_START_SECONDS = 20.0
_SOCKETS_LABEL = "io.deployd.sockets"
_PREVIOUS = "/run/deployd-previous"
# Binding low ports, dropping to the haproxy user, signalling workers of that user; and giving the master socket to a daemon
# that is not root, whose file's mode is set only after that (FOWNER).
_CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that shapes the container. `ports` are published on a bridge (port -> address it is bound to) and unused else."""

    instance: str
    image: str
    directory: Path
    sockets: str
    certificates: Path | None = None
    network: str | None = None
    ports: tuple[tuple[int, str], ...] = ()
    takes_over: str | None = None

    @property
    def name(self) -> str:
        """The container's name."""
        return f"deployd-gateway-{self.instance}"


def container_spec(plan: Plan) -> dict[str, Any]:
    """The engine's description of the gateway's container."""
    control = f"{SOCKETS}/master.sock,uid,{os.getuid()},gid,{os.getgid()},mode,600"
    if plan.network is not None:
        control = f"ipv4@0.0.0.0:{CONTROL_PORT}"
    command = ["-W", "-db", "-S", control, "-f", f"{CONFIG}/haproxy.cfg"]
    binds = [f"{plan.directory}/config:{CONFIG}:ro", f"{plan.directory}/{plan.sockets}:{SOCKETS}"]
    if plan.takes_over is not None:
        command += ["-x", f"{_PREVIOUS}/admin.sock"]
        binds.append(f"{plan.directory}/{plan.takes_over}:{_PREVIOUS}")
    if plan.certificates is not None:
        binds.append(f"{plan.certificates.absolute()}:{CERTIFICATES}:ro")
    published = (
        {str(CONTROL_PORT): "127.0.0.1", **{str(port): bind for port, bind in plan.ports}} if plan.network else {}
    )
    return {
        "Image": plan.image,
        "Entrypoint": ["haproxy"],
        "Cmd": command,
        "User": "0:0",
        "StopSignal": "SIGUSR1",
        "Labels": {**part_labels(plan.instance, "gateway"), _SOCKETS_LABEL: plan.sockets},
        "ExposedPorts": {f"{port}/tcp": {} for port in published},
        "HostConfig": {
            "NetworkMode": plan.network or "host",
            "Binds": binds,
            "PortBindings": {
                f"{port}/tcp": [{"HostIp": bind, "HostPort": "" if port == str(CONTROL_PORT) else port}]
                for port, bind in published.items()
            },
            "RestartPolicy": {"Name": "always"},
            "CapDrop": ["ALL"],
            "CapAdd": _CAPABILITIES,
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        },
    }


class GatewayContainer:
    """The container of one instance. Not safe for concurrent use: the Gateway serialises."""

    def __init__(self, docker: aiodocker.Docker, instance: str, section: GatewaySection, directory: Path) -> None:
        self._docker = docker
        self._instance = instance
        self._section = section
        self._directory = directory
        self._network = Network(docker, instance)
        self.bridge = False

    async def decide_network(self) -> None:
        """Set `bridge`: what the config says, else a bridge only on Docker Desktop, whose host network is a hidden machine's."""
        if self._section.network == "auto":
            with translated("asking the engine what it is"):
                info = await self._docker.system.info()
            self.bridge = info.get("OperatingSystem") == "Docker Desktop"
        else:
            self.bridge = self._section.network == "bridge"

    async def find(self) -> Mapping[str, Any] | None:
        """The container as the engine describes it, None when there is none."""
        with translated("looking for the gateway"):
            found = await inspect(self._docker, self._plan(()).name)
        if found is not None and found["Config"]["Labels"].get("io.deployd.instance") != self._instance:
            raise Unavailable(
                f"the container {self._plan(()).name} is not this deployd's gateway",
                hint="remove or rename it, or set another server.instance",
            )
        return found

    async def ensure(self, ports: Iterable[int]) -> bool:
        """The container runs and HAProxy answers; True when it had to be started or made."""
        found = await self.find() or await self._returned()
        if found is not None and self.bridge and not set(map(str, ports)) <= _published(found):
            await self._remove(found["Id"])
            found = None
        if found is not None and found["State"]["Running"]:
            await self.wait_ready()
            return False
        if found is None:
            await self._create(self._plan(ports))
        with translated("starting the gateway"):
            await self._docker.containers.container(self._plan(()).name).start()
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

    async def outdated(self) -> bool:
        """The configured image's name means another image than the one that runs."""
        found = await self.find()
        return found is not None and await self._image_id() != found["Image"]

    async def upgrade(self, ports: Iterable[int]) -> None:
        """Put a container of the configured image in the running one's place; on the host network no connection is lost."""
        found = await self.find()
        if (old := await self._old()) is not None:
            await self._remove(old["Id"])
        if found is None or self.bridge:
            if found is not None:
                await self._remove(found["Id"])
            await self.ensure(ports)
            return
        before = found["Config"]["Labels"][_SOCKETS_LABEL]
        plan = self._plan(ports, sockets="sockets-b" if before == "sockets-a" else "sockets-a", takes_over=before)
        with translated("upgrading the gateway"):
            await self._docker.containers.container(found["Id"]).rename(f"{plan.name}-old")
            try:
                await self._create(plan)
                await self._docker.containers.container(plan.name).start()
                await self.wait_ready()
            except BaseException:
                await self._give_back(plan, found["Id"])
                raise
        await self._retire(found["Id"])

    async def finish_retired(self) -> None:
        """Let a replaced container come to its end, and remove it when it has; also one that a crash left half replaced."""
        if (found := await self._old()) is None:
            return
        if not found["State"]["Running"]:
            await self._remove(found["Id"])
        elif found["HostConfig"]["RestartPolicy"]["Name"] == "always":
            await self._retire(found["Id"])

    async def wait_ready(self) -> None:
        """Until HAProxy answers; Unavailable with its last words when it does not."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                while True:
                    try:
                        if (await (await self.runtime()).workers()).current is not None:
                            return
                    except Unavailable:
                        await self._still_alive()
                    await asyncio.sleep(0.02)
        except TimeoutError as exc:
            raise Unavailable("the gateway does not start", hint=await self.last_words()) from exc

    async def last_words(self) -> str:
        """What HAProxy printed last."""
        with translated("reading the gateway's log"):
            container = self._docker.containers.container(self._plan(()).name)
            return "".join(await container.log(stdout=True, stderr=True, tail=10))

    async def remove(self) -> None:
        """Take it away: traffic ends."""
        for found in (await self._old(), await self.find()):
            if found is not None:
                await self._remove(found["Id"])
        for name in ("sockets-a", "sockets-b"):
            shutil.rmtree(self._directory / name, ignore_errors=True)

    def _plan(self, ports: Iterable[int], *, sockets: str = "sockets-a", takes_over: str | None = None) -> Plan:
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
        if not self.bridge:
            return Runtime(self._directory / found["Config"]["Labels"][_SOCKETS_LABEL] / "master.sock")
        published = (found["NetworkSettings"]["Ports"] or {}).get(f"{CONTROL_PORT}/tcp")
        if not published:
            raise Unavailable("the gateway is not running")
        return Runtime(("127.0.0.1", int(published[0]["HostPort"])))

    async def _create(self, plan: Plan) -> None:
        (self._directory / plan.sockets).mkdir(parents=True, exist_ok=True)
        await self._image_id()
        if plan.network is not None:
            await self._network.ensure()
        with translated("making the gateway's container"):
            await self._docker.containers.create(container_spec(plan), name=plan.name)

    async def _image_id(self) -> str:
        """The id of the configured image, pulled where it is not there."""
        name = self._section.image
        with translated(f"getting the gateway's image {name}"):
            try:
                image = await self._docker.images.inspect(name)
            except aiodocker.DockerError as exc:
                if exc.status != 404:
                    raise
                await self._docker.images.pull(name)
                image = await self._docker.images.inspect(name)
        return str(image["Id"])

    async def _retire(self, container_id: str) -> None:
        """It takes no more connections, ends when its last client is done, and is not started again."""
        with translated("retiring the former gateway"):
            never = {"RestartPolicy": {"Name": "no"}}
            await request(self._docker, f"containers/{container_id}/update", "POST", data=never)
            await self._docker.containers.container(container_id).kill(signal="SIGUSR1")

    async def _returned(self) -> Mapping[str, Any] | None:
        """The container that an upgrade had begun to replace when it was interrupted, with its name given back."""
        if (old := await self._old()) is not None:
            with translated("taking the former gateway back"):
                await self._docker.containers.container(old["Id"]).rename(self._plan(()).name)
        return await self.find()

    async def _give_back(self, plan: Plan, old: str) -> None:
        """An upgrade did not start: the old container, which still serves, gets its name again."""
        if (found := await self.find()) is not None and found["Id"] != old:
            await self._remove(found["Id"])
        await self._docker.containers.container(old).rename(plan.name)

    async def _old(self) -> Mapping[str, Any] | None:
        with translated("looking for the replaced gateway"):
            found = await inspect(self._docker, f"{self._plan(()).name}-old")
        ours = found is not None and found["Config"]["Labels"].get("io.deployd.instance") == self._instance
        return found if ours else None

    async def _still_alive(self) -> None:
        found = await self.find()
        if found is None or not (found["State"]["Running"] or found["State"]["Restarting"]):
            raise Unavailable("the gateway ended", hint=await self.last_words() if found else "")

    async def _remove(self, container_id: str) -> None:
        with translated("removing the gateway"):
            await delete(self._docker, container_id)


def _published(found: Mapping[str, Any]) -> set[str]:
    return {port.partition("/")[0] for port in found["HostConfig"]["PortBindings"] or {}}
