"""HAProxy's container: it is created, started and watched, and replaced by one with a newer image or another layout.

On the host network (Linux), HAProxy binds the ports itself and deployd talks to it over a socket in the state directory; a
replacement loses no connection. On a bridge network (Docker Desktop), its ports and its master CLI are published, the CLI on
loopback only; there, a new port or image causes a short gap, and the other containers of the instance's network can reach the
CLI. The bridge is tested on a Linux engine, not on Docker Desktop.
"""

import asyncio
import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployd.config.daemon import GatewaySection
from deployd.engine.client import EngineClient
from deployd.errors import RolloutFailed, Unavailable
from deployd.gateway.described import control_of, is_cut_off, on_host, published, sockets_of
from deployd.gateway.layout import LAYOUT_LABEL, SOCKETS_LABEL, Layout, container_spec, gateway_name, layout_hash
from deployd.gateway.neighbour import require_ours
from deployd.gateway.network import Network
from deployd.gateway.runtime import Runtime
from deployd.gateway.slots import Endpoint

logger = logging.getLogger(__name__)

_START_SECONDS = 20.0
_RELOAD_SECONDS = 20.0


class GatewayContainer:
    """The container of one instance. Not safe for concurrent use: the Gateway calls it under a lock."""

    def __init__(self, engine: EngineClient, instance: str, section: GatewaySection, directory: Path) -> None:
        self._engine = engine
        self._instance = instance
        self._section = section
        self._directory = directory
        self._network = Network(engine, instance)
        self.name = gateway_name(instance)
        self.bridge = False
        self._known: Runtime | None = None  # the connection of the container that was found last
        self._is_alone = False  # whether no replaced container is there

    async def decide_network(self) -> None:
        """Set `bridge` as configured. "auto": a bridge only on Docker Desktop, whose host network is in a virtual machine."""
        if self._section.network == "auto":
            self.bridge = (await self._engine.info()).get("OperatingSystem") == "Docker Desktop"
        else:
            self.bridge = self._section.network == "bridge"

    async def find(self) -> Mapping[str, Any] | None:
        """The container as the engine describes it; None when it does not exist."""
        found = await self._engine.containers.inspect(self.name)
        if found is not None and found["Config"]["Labels"].get("io.deployd.instance") != self._instance:
            raise Unavailable(
                f"the container {self.name} is not this deployd's gateway",
                hint="remove or rename it, or set another server.instance",
            )
        if found is not None:
            require_ours(found, self._directory, self._instance)
        control = control_of(found) if found is not None else None
        self._known = Runtime(control) if control is not None else None
        return found

    async def answers(self) -> bool:
        """Whether HAProxy answers where it did before. False is no proof that it does not run."""
        if self._known is None or not self._known.has_socket:
            return False
        try:
            await self._known.description()
        except Unavailable:
            return False
        return True

    async def runs(self) -> bool:
        """Whether the container runs. One that crashes and is restarted again and again does not count, nor one that reads and
        hears nothing of deployd any more."""
        found = await self.find()
        if found is None or is_cut_off(found):
            return False
        return bool(found["State"]["Running"] and not found["State"]["Restarting"])

    async def ensure(self, ports: Iterable[int]) -> bool:
        """Make sure that the container runs and HAProxy answers. True when it had to be started or created."""
        found = await self.find() or await self._undo_rename()
        if found is not None and self.bridge and not set(ports) <= {port for port, _ in published(found)}:
            await self.upgrade(ports)
            return True
        if found is not None and found["State"]["Running"] and is_cut_off(found):
            logger.warning(
                "The state directory of the running gateway was moved or deleted: its container is created again"
            )
            await self.upgrade(ports)
            return True
        if found is not None and found["State"]["Status"] in {"removing", "dead"}:  # somebody removes it: wait for that
            await self._remove(found["Id"])
            found = None
        if found is not None and (found["State"]["Restarting"] or is_cut_off(found)):
            await self._engine.images.ensure(self._section.image)
            await self._remove(found["Id"])
            found = None
        if found is not None and found["State"]["Running"]:
            await self.wait_ready()
            return False
        if found is None:
            await self._create(self._layout(ports))
        await self._engine.containers.start(self.name)
        await self.wait_ready()
        return True

    async def runtime(self) -> Runtime:
        """The connection to HAProxy's runtime API. The engine is asked for the container only when the known socket is gone."""
        if self._known is not None and self._known.has_socket:
            return self._known
        if await self.find() is None:
            raise Unavailable("the gateway's container does not exist")
        if self._known is None:
            raise Unavailable("the gateway is not running")
        return self._known

    async def replaced(self) -> list[Runtime]:
        """The replaced HAProxy that still serves its open connections, if there is one that can be told anything."""
        found = await self._replaced()
        if found is None or not found["State"]["Running"] or is_cut_off(found):
            return []
        return [Runtime(control)] if (control := control_of(found)) is not None else []

    async def outdated(self, ports: Iterable[int]) -> bool:
        """Whether the container has another image or another layout than the config asks for."""
        if (found := await self.find()) is None:
            return False
        layout = self._layout(ports)
        fits = found["Config"]["Labels"].get(LAYOUT_LABEL) == layout_hash(layout)
        if self.bridge:
            fits = fits and set(layout.ports) <= published(found)
        return not fits or await self._engine.images.ensure(self._section.image) != found["Image"]

    async def upgrade(self, ports: Iterable[int]) -> None:
        """Replace the container by one as configured; on the host network no connection is lost.

        A new container that does not start is removed, and the old one continues to serve.
        """
        await self._engine.images.ensure(self._section.image)
        if (old := await self._replaced()) is not None:
            await self._remove(old["Id"])
        if (found := await self.find()) is None:
            await self.ensure(ports)
            return
        beside, before = not self.bridge and on_host(found), found["Config"]["Labels"][SOCKETS_LABEL]
        sockets = "sockets-b" if before == "sockets-a" else "sockets-a"
        takes_over = sockets_of(found) if beside and not is_cut_off(found) else None
        layout = replace(self._layout(ports), sockets=sockets, takes_over=takes_over)
        self._is_alone = False
        await self._engine.containers.rename(found["Id"], f"{self.name}-old")
        try:
            if not beside:  # the old one has the ports
                await self._engine.containers.stop(found["Id"], 1)
            await self._create(layout)
            await self._engine.containers.start(self.name)
            await self.wait_ready(made=True)
        except BaseException:
            await self._undo_upgrade(found["Id"], stopped=not beside)
            raise
        await (self._let_finish(found["Id"]) if beside else self._remove(found["Id"]))

    async def remove_replaced(self) -> None:
        """Remove the replaced container once it has ended. After a crash during `upgrade`, first tell it to finish."""
        if (found := await self._replaced()) is None:
            return
        if not found["State"]["Running"]:
            await self._remove(found["Id"])
        elif found["HostConfig"]["RestartPolicy"]["Name"] == "always":
            await self._let_finish(found["Id"])

    async def wait_ready(self, *, made: bool = False) -> None:
        """Wait until HAProxy answers. Unavailable, with its last lines of output, when it does not; a container that was just
        `made` may not be restarted even once."""
        try:
            async with asyncio.timeout(_START_SECONDS):
                while True:
                    try:
                        await (await self.runtime()).description()
                    except Unavailable:
                        await self._require_alive(made=made)
                        await asyncio.sleep(0.02)
                    else:
                        return
        except TimeoutError as exc:
            raise Unavailable("the gateway does not start", hint=await self.last_lines()) from exc

    async def reload(self) -> None:
        """Let HAProxy load its present config file, which loses no connection; RolloutFailed when it cannot use it."""
        runtime = await self.runtime()
        try:
            async with asyncio.timeout(_RELOAD_SECONDS):
                started = await runtime.reload()
        except TimeoutError as exc:
            raise Unavailable("the gateway does not answer after a reload") from exc
        if not started:
            raise RolloutFailed("the gateway cannot use its new config", hint=await self.last_lines())

    async def require_worker(self) -> None:
        """Unavailable unless a worker of HAProxy accepts connections."""
        try:
            workers = await (await self.runtime()).workers()
        except Unavailable as exc:
            if await self.runs():
                raise
            raise Unavailable(f"the gateway does not run: {await self.last_words() or exc.message}") from exc
        if workers.current is None:
            raise Unavailable("the gateway has no worker", hint="docker logs of its container say why")

    async def sessions(self, backend: str) -> dict[Endpoint, int]:
        """Requests in progress for each endpoint of a backend, also in old workers and in a replaced HAProxy."""
        total: dict[Endpoint, int] = {}
        for runtime in [await self.runtime(), *await self.replaced()]:
            for endpoint, count in (await runtime.sessions(backend)).items():
                total[endpoint] = total.get(endpoint, 0) + count
        return total

    async def last_lines(self) -> str:
        """The last lines that HAProxy printed."""
        return await self._engine.containers.printed(self.name, 10)

    async def last_words(self) -> str:
        """The alerts among them, else the last line; on one line, empty when there is no container."""
        lines = (await self.last_lines()).splitlines() if await self.find() is not None else []
        return "; ".join(dict.fromkeys(line for line in lines if "[ALERT]" in line) or lines[-1:])

    async def remove(self) -> None:
        """Remove the container. No app is reachable afterwards."""
        for found in (await self._replaced(), await self.find()):
            if found is not None:
                await self._remove(found["Id"])
        for name in ("sockets-a", "sockets-b", "certificates"):
            shutil.rmtree(self._directory / name, ignore_errors=True)

    def _layout(self, ports: Iterable[int]) -> Layout:
        network = self._network.name if self.bridge else None
        return Layout.of(self._section, self._instance, self._directory, network, ports)

    async def _create(self, layout: Layout) -> None:
        (self._directory / layout.sockets).mkdir(parents=True, exist_ok=True)
        (self._directory / "certificates").mkdir(mode=0o700, exist_ok=True)
        await self._engine.images.ensure(self._section.image)
        if layout.network is not None:
            await self._network.ensure()
        self._known = None
        await self._engine.containers.create(self.name, container_spec(layout))

    async def _let_finish(self, container_id: str) -> None:
        """Tell HAProxy to accept no more connections and to end after its last one. The engine does not restart it."""
        await self._engine.containers.update(container_id, {"RestartPolicy": {"Name": "no"}})
        await self._engine.containers.kill(container_id, "SIGUSR1")

    async def _undo_rename(self) -> Mapping[str, Any] | None:
        """After an interrupted upgrade: give the old container its name again. The container, if there is one."""
        if (old := await self._replaced()) is not None:
            await self._engine.containers.rename(old["Id"], self.name)
        return await self.find()

    async def _undo_upgrade(self, old: str, *, stopped: bool) -> None:
        """The new container did not start: remove it, give the old one its name again, and start that if it was stopped."""
        if (found := await self.find()) is not None and found["Id"] != old:
            await self._remove(found["Id"])
        self._known = None
        await self._engine.containers.rename(old, self.name)
        if stopped:
            await self._engine.containers.start(old)

    async def _replaced(self) -> Mapping[str, Any] | None:
        """The replaced container. The engine is not asked again when there is none: only `upgrade` makes one."""
        if self._is_alone:
            return None
        found = await self._engine.containers.inspect(f"{self.name}-old")
        ours = found is not None and found["Config"]["Labels"].get("io.deployd.instance") == self._instance
        self._is_alone = not ours
        return found if ours else None

    async def _require_alive(self, *, made: bool) -> None:
        found = await self.find()
        ended = found is None or not (found["State"]["Running"] or found["State"]["Restarting"])
        if found is None or ended or (made and found["RestartCount"]):
            raise Unavailable("the gateway ended", hint=await self.last_lines() if found else "")

    async def _remove(self, container_id: str) -> None:
        await self._engine.containers.remove(container_id)
