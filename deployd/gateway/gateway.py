"""The gateway of one instance: it decides where each app's traffic goes, and keeps HAProxy in that state.

Three records must agree: HAProxy's run-time state, which counts; the config file, which HAProxy reads when it starts without
deployd; and the routes in memory. Knows endpoints, not containers or deploys: the target knows those.

New listeners from [gateway] replace the old ones only once HAProxy has started with them; until then the old ones stay open, and
in the file.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from deployd.config.app import App
from deployd.config.daemon import GatewaySection
from deployd.engine.client import EngineClient
from deployd.errors import DeploydError, RolloutFailed, Unavailable
from deployd.gateway.addresses import addresses, ports, require_free
from deployd.gateway.container import GatewayContainer
from deployd.gateway.copies import CertificateCopies
from deployd.gateway.refusal import Refusal
from deployd.gateway.slots import Route, as_reported, commands
from deployd.gateway.switchboard import Switchboard
from deployd.gateway.text import Listeners, read, read_listeners, structure_hash
from deployd.tasks import uninterrupted

logger = logging.getLogger(__name__)


class Gateway(Switchboard):
    """Keeps HAProxy running, listening for the right apps, with the right settings."""

    def __init__(self, engine: EngineClient, instance: str, section: GatewaySection, directory: Path) -> None:
        super().__init__(
            GatewayContainer(engine, instance, section, directory),
            directory / "config",
            Listeners.of(section, bridge=False),
        )
        self._section = section
        self.certificates = CertificateCopies(section.certificates if section.tls else None, directory / "certificates")
        self._refusal = Refusal()

    async def open(self) -> None:
        """Read the routes, from HAProxy where it runs, else from the file, and start HAProxy if there are any. Idempotent."""
        async with self._lock:
            await self.container.decide_network()
            text = self._file.text()
            self._routes, former = {route.app: route for route in read(text)}, read_listeners(text)
            self.certificates.adopt(former.certificates if former is not None else "")
            if await self.container.runs():
                await self.container.wait_ready()
                self._listeners = former or self._configured
                self._routes = await self._as_reported(self._routes)
                await self._end_shares()
            elif self._routes or await self.container.find() is not None:
                await self._renew_certificates()
                self._listeners = self._configured
            await self._correct()

    async def ensure(self, apps: Iterable[App]) -> None:
        """Listen for `apps`; a request to an app without a release gets a 503. At most one reload, which loses no connection.
        A HAProxy that has just started is waited for, and one that has ended is started."""
        async with self._lock:
            await self._bring_up()
            wanted = dict(self._routes)
            for app in apps:
                route = self._possible(Route.of(app))
                wanted[app.name] = wanted[app.name].with_listeners_of(route) if app.name in wanted else route
            if wanted != self._routes:
                await self._create(wanted)
                await self._change_routes(wanted)

    def _possible(self, route: Route) -> Route:
        """`route` without options that cannot work: on a bridge, HAProxy may be on another machine and cannot reach deployd's
        socket."""
        if not self.container.bridge or not route.sampled:
            return route
        if route.app not in self._routes:
            logger.warning("No requests to %s are recorded: the gateway is on a bridge", route.app)
        return replace(route, sampled=0)

    async def forget(self, app: str) -> None:
        """Stop listening for `app`."""
        async with self._lock:
            if app in self._routes:
                await self._change_routes({name: route for name, route in self._routes.items() if name != app})

    async def reconcile(self) -> None:
        """Make sure that HAProxy runs with the right state and the right file; correct what differs. Idempotent."""
        async with self._lock:
            await self._correct()
            await self.container.remove_replaced()

    async def use_configured_listeners(self) -> None:
        """Listen as [gateway] configures. Unavailable when that is not possible: then the old listeners stay open."""
        async with self._lock:
            await self._renew_certificates()
            if self._listeners != self._configured:
                await uninterrupted(self._change_listeners())

    async def upgrade(self) -> None:
        """Use the listeners, mounts and image that [gateway] configures; on the host network no connection is lost.

        Unavailable when HAProxy does not start with them: then nothing changes."""
        async with self._lock:
            if await self.container.find() is None:
                return
            await self._renew_certificates()
            if self._listeners != self._configured or await self.container.outdated(
                ports(self._configured, self._routes)
            ):
                await uninterrupted(self._change_listeners())

    async def ping(self) -> None:
        """Unavailable unless HAProxy answers and listens as [gateway] configures."""
        async with self._lock:
            if not self._refusal or await self.container.runs():
                await self.container.require_worker()
        self._refusal.check()

    @property
    def secure(self) -> bool:
        """Whether the apps with host names are served with TLS."""
        return self._section.https_port is not None

    async def _as_reported(self, routes: dict[str, Route]) -> dict[str, Route]:
        """The routes with the slots that HAProxy reports; the file may be older."""
        runtime, found = await self.container.runtime(), dict(routes)
        for name, route in routes.items():
            if slots := await runtime.slots(route.backend):
                found[name] = as_reported(route, slots)
        return found

    async def _correct(self) -> None:
        """Correct the file, the container and the run-time state after the routes. Without routes, no gateway is created."""
        if not self._routes and await self.container.find() is None:
            return
        if not self._is_written:
            self._write(self._routes)
        if await self.container.ensure(ports(self._listeners, self._routes)):
            logger.info("The gateway was started")
            return
        runtime = await self.container.runtime()
        # No routes: the file was damaged. HAProxy keeps its config until `ensure` names the apps.
        if self._routes and await runtime.description() != structure_hash(self._listeners, self._routes.values()):
            await self._load_written_file()
            return
        for route in self._routes.values():
            slots = await runtime.slots(route.backend)
            now = Route(route.app, slots=slots)
            if slots and now.serving != route.serving:
                logger.warning(
                    "The gateway sent %s to %s instead of %s; corrected", route.app, now.serving, route.serving
                )
                await runtime.apply(commands(route.backend, slots, route.slots))

    async def _load_written_file(self) -> None:
        """HAProxy has not loaded the present file: deployd was interrupted between writing it and the reload."""
        try:
            await self.container.reload()
        except RolloutFailed as exc:
            raise Unavailable(exc.message, hint=exc.hint) from exc
        logger.info("The gateway has loaded its current config file")

    async def _renew_certificates(self, *, first: bool = False) -> None:
        """Copy the certificates as they are now; the configured listeners name the copies."""
        try:
            await asyncio.to_thread(self.certificates.refresh)
        except Unavailable as exc:
            raise self._refusal.of(exc, first=first) from exc
        if self._section.tls and self._listeners.https_port is not None and not self.certificates.digest:
            hint = "correct them: HAProxy goes on with those that it has read"
            unusable = Unavailable(f"gateway.certificates: {self.certificates.trouble()}", hint=hint)
            raise self._refusal.of(unusable, first=first)

    async def _change_listeners(self) -> None:
        """Replace the present listeners by the configured ones: by a reload, or by a new container when its layout changes."""
        before = self._listeners
        try:
            if not self.container.bridge:
                bound = ports(before, self._routes) | {port for _, port in addresses(before)}
                require_free(addresses(self._configured), bound)
            self._listeners = self._configured
            self._write(self._routes)
            if await self.container.outdated(ports(self._listeners, self._routes)):
                await self.container.upgrade(ports(self._listeners, self._routes))
            else:
                await self.container.reload()
        except DeploydError as exc:
            self._listeners = before
            self.certificates.adopt(before.certificates)
            self._write(self._routes)
            raise self._refusal.of(exc) from exc
        self._refusal.over()
        renewed = replace(before, certificates=self._listeners.certificates) == self._listeners
        logger.info("The gateway uses %s", "the current certificates" if renewed else "the settings in [gateway]")
        self.certificates.forget_others()

    @property
    def _configured(self) -> Listeners:
        return Listeners.of(self._section, bridge=self.container.bridge, certificates=self.certificates.digest)

    async def _create(self, wanted: dict[str, Route]) -> None:
        """Create the gateway for the first apps. On a bridge network, their ports are published from the start."""
        if not self._routes and await self.container.find() is None:
            await self._renew_certificates(first=True)
            self._listeners = self._configured
            self._write(self._routes)
            await self.container.ensure(ports(self._listeners, wanted))
            self._refusal.over()

    async def _change_routes(self, wanted: dict[str, Route]) -> None:
        """Write a new file, then reload, which loses no connection. When that fails, the old routes stay."""
        before, wanted = self._routes, await self._as_reported(wanted)
        if not self.container.bridge:
            open_now = await (await self.container.runtime()).frontends()
            own = {route.listen for route in wanted.values() if route.listen is not None}
            bound = {port for port in own if f"port-{port}" in open_now}
            require_free({(self._listeners.bind, port): "app.gateway.listen" for port in own}, bound)
        self._write(wanted)
        try:
            if self.container.bridge and await self.container.ensure(ports(self._listeners, wanted)):
                self._routes = wanted
                return
            await self.container.reload()
        except (RolloutFailed, Unavailable):
            self._write(before)
            raise
        self._routes = wanted
