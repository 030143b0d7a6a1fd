"""The containers of one instance's apps on the engine: create, find, wait for, stop and remove them.

A container is ours when its name, its labels and the recorded id agree. Labels alone prove nothing, since images hand them on: a
container that a person starts from a deployed image has them too. Knows nothing of traffic or gates.
"""

import logging
import math
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from deployd.config.app import App
from deployd.config.digest import made_with
from deployd.config.values import read_secret
from deployd.domain import Deploy, Image, labels
from deployd.engine.client import EngineClient
from deployd.engine.connection import Refused
from deployd.errors import RolloutFailed
from deployd.gateway.network import Network
from deployd.gateway.slots import Endpoint
from deployd.ports.log import Log
from deployd.ports.target import Made
from deployd.targets.docker import silence
from deployd.targets.docker.container import (
    AppContainer,
    ContainerRemoved,
    Running,
    failing,
    name_of,
    not_made,
    present,
)
from deployd.targets.docker.spec import (
    PORT,
    NetworkSettings,
    container_name,
    container_spec,
    ending,
    names_of,
    number_of,
)
from deployd.targets.listening import Silence
from deployd.tasks import first, together

logger = logging.getLogger(__name__)

LAST_LINES = 20
"""The number of lines of a failed container's output that are shown."""

_HOST = "host"
_LOOPBACK = "127.0.0.1"


class Containers:
    """Containers of one instance. `published`: deployd reaches them through a port on loopback, as on Docker Desktop."""

    def __init__(self, engine: EngineClient, instance: str, made: Made) -> None:
        self._client = engine
        self._engine = engine.containers
        self._made = made
        self._networks = engine.networks
        self._instance = instance
        self.network = Network(engine, instance)
        self.published = False

    async def make(self, app: App, deploy: Deploy, image: Image, log: Log | None = None) -> str:
        """Create the deploy's container without starting it; one that a crash left is removed first. Its id."""
        name = container_name(self._instance, app.name, deploy.number)
        secrets = self._secrets(app, log)
        _, settings = await together(self._clear(app, deploy.number), self._network_settings(app))
        spec = container_spec(app, deploy, image, settings, secrets)
        with failing(app):
            try:
                made = await self._engine.create(name, spec)
            except Refused as refused:
                raise not_made(name, deploy, refused) from refused
            await self._made.record_made(app.name, deploy.number, made)
            if app.docker.network not in {None, _HOST}:
                await self._networks.join(str(app.docker.network), made)
        return made

    async def log_driver(self) -> str:
        """The engine's own driver for logs. It changes only when the engine is started anew."""
        return str((await self._client.info())["LoggingDriver"])

    async def start(self, app: App, number: int, container_id: str) -> Running:
        """Start a deploy's container. RolloutFailed when the engine cannot start it or it ends at once."""
        with failing(app):
            await self._engine.start(container_id)
        found = await self._engine.inspect(container_id)
        if found is None:
            raise ContainerRemoved(f"the container of {app.name}/{number} was removed while it started")
        if (endpoint := self._endpoint(found, app)) is None:
            raise RolloutFailed(f"{name_of(found)} {ending(found)}", hint=await self.tail(container_id, LAST_LINES))
        return Running(container_id, number, endpoint, self._address(found, endpoint))

    async def of(self, app: App) -> list[AppContainer]:
        """The containers of an app by their numbers, oldest first."""
        found = await self._described(await self._engine.list(labels(self._instance, app.name)), app)
        return sorted(found, key=lambda container: container.number)

    async def addresses(self, apps: Mapping[str, App]) -> Mapping[str, Mapping[str, int]]:
        """For each of `apps`, which deploy's container has which address for HAProxy, in one question. Only the names and labels
        are looked at: where it matters whether a container is ours, ask `of`."""
        found: dict[str, dict[str, int]] = {}
        listed = await self._engine.list({"io.deployd.instance": self._instance})
        for item in sorted(listed, key=_likelihood):
            name, number = item["Labels"].get("io.deployd.app", ""), number_of(item)
            if name not in apps or number is None or name_of(item) not in names_of(self._instance, name, number):
                continue
            if host := self._host(item):
                port = item["Labels"].get(PORT) or apps[name].docker.port
                found.setdefault(name, {})[f"{host}:{port}"] = number
        return found

    async def described(self, app: App, number: int) -> dict[str, Any] | None:
        """The engine's description of a deploy's container; None when it does not exist."""
        found = await self.find(app, number)
        return await self._engine.inspect(found.id) if found is not None else None

    async def repair(self, app: App, deploy: Deploy) -> bool:
        """Put a release's container back into its networks and let it go on when it is paused. False when there is none, or none
        that could be started. RolloutFailed when a network does not exist."""
        found = await self.described(app, deploy.number)
        if found is None or not (found["State"]["Running"] or await self._startable(found)):
            return False
        with failing(app):
            for network in self.missing_networks(found, app, deploy):
                address = await self.network.free_address() if network == self.network.name else None
                await self._networks.join(network, found["Id"], address)
            if found["State"]["Paused"]:
                await self._engine.unpause(found["Id"])
        return True

    def missing_networks(self, found: Mapping[str, Any], app: App, deploy: Deploy) -> list[str]:
        """The networks that a release's container should be in, but is not."""
        if found["HostConfig"]["NetworkMode"] == _HOST:
            return []
        wanted = [self.network.name]
        if app.docker.network not in {None, _HOST} and made_with(deploy, app):
            wanted.append(str(app.docker.network))
        return [name for name in wanted if name not in found["NetworkSettings"]["Networks"]]

    async def _startable(self, found: Mapping[str, Any]) -> bool:
        """Whether a stopped container can be started: the engine is not removing it, and the networks that it was in exist. It
        stays in a network that was removed, also when there is another one of the same name by now."""
        if found["State"]["Status"] in {"dead", "removing"}:
            return False
        for name, attached in found["NetworkSettings"]["Networks"].items():
            if name != _HOST:
                network = await self._networks.find(name)
                if network is None or attached["NetworkID"] not in {network["Id"], ""}:
                    return False
        return True

    def endpoint_of(self, found: dict[str, Any], app: App) -> Endpoint | None:
        """Where HAProxy reaches a container as described; None when it does not run or is not in our network."""
        return self._endpoint(found, app)

    def address_of(self, found: dict[str, Any], app: App) -> str:
        """The base URL of a running container for deployd; empty when it has no address."""
        endpoint = self._endpoint(found, app)
        return self._address(found, endpoint) if endpoint is not None else ""

    async def named(self, app: str) -> dict[str, str]:
        """The ids and names of all containers of an app, also of one that is no longer configured."""
        listed = await self._ours(await self._engine.list(labels(self._instance, app)))
        return {str(item["Id"]): name_of(item) for item in listed}

    async def find(self, app: App, number: int) -> AppContainer | None:
        """The container of one deploy."""
        listed = await self._engine.list(labels(self._instance, app.name, number))
        return next((found for found in await self._described(listed, app) if found.number == number), None)

    async def while_running(self, running: Running, name: str, work: Coroutine[Any, Any, object]) -> None:
        """Do `work`; when the container ends before that, RolloutFailed says how `name` ended."""
        what, how = await first(self._wait_exit(running.id), work)
        if what == 0:
            raise RolloutFailed(f"{name} {how}", hint=await self.tail(running.id, LAST_LINES))

    async def _wait_exit(self, container_id: str) -> str:
        """Wait until it has ended; why it did."""
        await self._engine.until_ended(container_id)
        found = await self._engine.inspect(container_id)
        return "was removed" if found is None else ending(found)

    async def inspect(self, container_id: str) -> dict[str, Any] | None:
        """The engine's description of it; None when it does not exist."""
        return await self._engine.inspect(container_id)

    async def tail(self, container_id: str, lines: int) -> str:
        """The last lines that it printed; empty when it no longer exists, or when its log cannot be read back."""
        if await self._engine.inspect(container_id) is None:
            return ""
        try:
            return (await self._engine.printed(container_id, lines)).rstrip("\n")
        except Refused:
            return ""

    async def silence(self, running: Running) -> Silence | None:
        """Why nothing answers at its port; None when that is not why it fails, or nobody can tell."""
        found = await self._engine.inspect(running.id)
        if found is None or not found["State"]["Running"]:
            return None
        return await silence.find(self._client, found, running.endpoint.port)

    async def set_restart_policy(self, container_id: str, policy: str) -> None:
        """Set when the engine restarts it by itself."""
        with present():
            await self._engine.update(container_id, {"RestartPolicy": {"Name": policy}})

    async def stop(self, container_id: str, timeout_s: float | None = None) -> None:
        """Send SIGTERM, then SIGKILL after `timeout_s` (None: the container's own timeout). Does nothing when it does not run."""
        await self._engine.stop(container_id, None if timeout_s is None else math.ceil(timeout_s))

    async def remove(self, container_id: str, name: str) -> None:
        """Kill it, and remove it with its anonymous volumes."""
        await self._engine.remove(container_id)
        logger.info("Removed the container %s", name)

    async def remove_of(self, app: App, number: int) -> None:
        """Remove a deploy's container, if there is one."""
        if (found := await self.find(app, number)) is not None:
            await self.remove(found.id, found.name)

    async def _described(self, listed: Sequence[Mapping[str, Any]], app: App) -> list[AppContainer]:
        found = await together(*(self._engine.inspect(item["Id"]) for item in await self._ours(listed)))
        return [
            AppContainer(item["Id"], name_of(item), number, self._endpoint(item, app))
            for item in found
            if item is not None and (number := number_of(item)) is not None
        ]

    async def _ours(self, listed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The listed containers that this instance made: name, labels and recorded id agree.

        One that has our name and no record is taken over: a former release made it, a crash came before its record, or the
        database was lost.
        """
        found: list[Mapping[str, Any]] = []
        for item in listed:
            app, number = item["Labels"].get("io.deployd.app", ""), number_of(item)
            if number is None or name_of(item) not in names_of(self._instance, app, number):
                continue
            if (recorded := await self._made.made(app, number)) is None:
                await self._made.record_made(app, number, item["Id"])
            if recorded in {None, item["Id"]}:
                found.append(item)
        return found

    async def _clear(self, app: App, number: int) -> None:
        """Remove the deploy's container before another is made, and forget its id: a crash before the next id is recorded must
        not make that container a stranger."""
        await self.remove_of(app, number)
        if await self._made.made(app.name, number) is not None:
            await self._made.forget_made(app.name, number)

    async def _network_settings(self, app: App) -> NetworkSettings:
        if app.docker.network == _HOST:
            if self.published:
                hint = "remove docker.network, or set gateway.network to host"
                raise RolloutFailed("the gateway is on a bridge and cannot reach the host's network", hint=hint)
            return NetworkSettings(self._instance, _HOST, None, log_driver=await self.log_driver())
        driver, address = await together(self.log_driver(), self.network.free_address())
        return NetworkSettings(self._instance, self.network.name, address, self.published, driver)

    def _secrets(self, app: App, log: Log | None) -> dict[str, str]:
        found = {
            name: read_secret(reference, f"app.{app.name}.docker.env_secrets.{name}")
            for name, reference in app.docker.env_secrets.items()
        }
        if log is not None:
            for secret in found.values():
                log.hide(secret)
        return found

    def _endpoint(self, found: dict[str, Any], app: App) -> Endpoint | None:
        if not found["State"]["Running"]:
            return None
        host = self._host(found)
        port = (found["Config"]["Labels"] or {}).get(PORT)
        return Endpoint(host, int(port) if port else app.docker.port) if host else None

    def _host(self, found: dict[str, Any]) -> str:
        """The address of a container, running or stopped, for HAProxy; empty when it has none."""
        return _LOOPBACK if _HOST in (found["NetworkSettings"].get("Networks") or {}) else self.network.address(found)

    def _address(self, found: dict[str, Any], endpoint: Endpoint) -> str:
        published = (found["NetworkSettings"]["Ports"] or {}).get(f"{endpoint.port}/tcp") if self.published else None
        return f"http://{_LOOPBACK}:{published[0]['HostPort']}" if published else f"http://{endpoint}"


def _likelihood(listed: Mapping[str, Any]) -> tuple[bool, int]:
    """A sort key for containers with the same address, as in the host's network: the last one is meant."""
    return listed["State"] == "running", number_of(listed) or 0
