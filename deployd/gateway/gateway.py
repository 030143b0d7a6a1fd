"""The gateway of one instance: which app's traffic goes where, and that HAProxy does just that, whatever dies.

Three records of it must agree: HAProxy's run-time state, which is what counts; the config file, from which HAProxy comes back
alone; and the routes in memory. Knows endpoints, not containers or deploys: those are the target's.

The doors that [gateway] asks for are taken into use only by an HAProxy that has come up with them; until then the former ones
stay open, and in the file.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from deployd.config.app import App
from deployd.config.daemon import GatewaySection
from deployd.engine.client import EngineClient
from deployd.errors import DeploydError, RolloutFailed, Unavailable
from deployd.gateway.claim import claims, must_be_free
from deployd.gateway.container import GatewayContainer
from deployd.gateway.file import ConfigFile
from deployd.gateway.runtime import Runtime
from deployd.gateway.slots import Endpoint, Route, commands, held, learned, switched, without
from deployd.gateway.text import Doors, read, read_doors, render, shape
from deployd.tasks import uninterrupted

logger = logging.getLogger(__name__)

_RELOAD_SECONDS = 20.0


class Gateway:
    """HAProxy as the apps' switch. All that changes it goes through one lock."""

    def __init__(self, engine: EngineClient, instance: str, section: GatewaySection, directory: Path) -> None:
        self.container = GatewayContainer(engine, instance, section, directory)
        self._section = section
        self._file = ConfigFile(directory / "config" / "haproxy.cfg")
        self._doors = Doors.of(section, bridge=False)
        self._refused = ""
        self._routes: dict[str, Route] = {}
        self._lock = asyncio.Lock()

    async def open(self) -> None:
        """HAProxy runs and the routes are known, from its own state where it runs, else from the file. Idempotent."""
        async with self._lock:
            await self.container.decide_network()
            text = self._file.text()
            self._routes, self._doors = {route.app: route for route in read(text)}, self._asked
            if await self.container.up():
                await self.container.wait_ready()
                self._doors = read_doors(text) or self._asked
                self._routes = await self._learn(self._routes)
            await self._settle()

    async def ensure(self, apps: Iterable[App]) -> None:
        """The doors of `apps` are open, behind which a request without a release gets its 503. One hitless reload at most."""
        async with self._lock:
            wanted = dict(self._routes)
            for app in apps:
                route = Route.of(app)
                wanted[app.name] = wanted[app.name].reshaped(route) if app.name in wanted else route
            if wanted != self._routes:
                await self._start(wanted)
                await self._restructure(wanted)

    async def switch(self, app: str, endpoint: Endpoint) -> None:
        """All traffic of `app` goes to `endpoint`, from one moment to the next; what served before drains.

        When it fails, what served before is put back first. The file is not written: `save` does it.
        """
        async with self._lock:
            runtime, route = await self.container.runtime(), self._routes[app]
            now = await runtime.slots(route.backend)
            if not now:
                raise Unavailable(f"the gateway does not know {app}")
            before = learned(route, now)
            after = switched(before, endpoint, await runtime.sessions(route.backend))
            try:
                await self._apply(runtime, before, after)
            except Unavailable:
                await self._put_back(runtime, after, before)
                raise
            self._routes[app] = after

    async def hold(self, app: str) -> None:
        """What serves `app` drains, with nothing in its place: new requests get a 503 until the next switch."""
        async with self._lock:
            before, runtime = self._routes[app], await self.container.runtime()
            await self._apply(runtime, before, held(before))
            self._routes[app] = held(before)
            self._write(self._routes)

    async def save(self) -> None:
        """Write the present state down, so that HAProxy alone comes back with it."""
        async with self._lock:
            self._write(self._routes)

    async def serving(self, app: str) -> Endpoint | None:
        """Where HAProxy sends the traffic of `app` now, by its own word."""
        if app not in self._routes:
            return None
        runtime = await self.container.runtime()
        slots = await runtime.slots(self._routes[app].backend)
        return Route(app, slots=slots).serving

    async def sessions(self, app: str) -> dict[Endpoint, int]:
        """Requests in progress by endpoint, with those of workers and of a replaced HAProxy that only finish."""
        if app not in self._routes:
            return {}
        total: dict[Endpoint, int] = {}
        for runtime in [await self.container.runtime(), *await self.container.retired()]:
            for endpoint, count in (await runtime.sessions(self._routes[app].backend)).items():
                total[endpoint] = total.get(endpoint, 0) + count
        return total

    async def release(self, app: str, endpoint: Endpoint) -> None:
        """`endpoint` gets no traffic any more and its slot is free."""
        async with self._lock:
            if (before := self._routes.get(app)) is None or before.find(endpoint) is None:
                return
            after = without(before, endpoint)
            await self._apply(await self.container.runtime(), before, after)
            self._routes[app] = after
            self._write(self._routes)

    async def forget(self, app: str) -> None:
        """Close the doors of `app`."""
        async with self._lock:
            if app in self._routes:
                await self._restructure({name: route for name, route in self._routes.items() if name != app})

    async def reconcile(self) -> None:
        """HAProxy runs, with the state and the file that it should have; what differs is corrected. Idempotent."""
        async with self._lock:
            await self._settle()
            await self.container.finish_retired()

    async def fit(self) -> None:
        """The doors that [gateway] asks for are open. Unavailable when they cannot be: then the former ones stay."""
        async with self._lock:
            if self._doors != self._asked:
                await uninterrupted(self._refit())

    async def upgrade(self) -> None:
        """Take the doors, the mounts and the image that [gateway] asks for into use: no connection is lost on the host
        network. Unavailable when HAProxy does not come up with them: then all stays as it was."""
        async with self._lock:
            if await self.container.find() is None:
                return
            if self._doors != self._asked or await self.container.outdated(self._ports(self._asked, self._routes)):
                await uninterrupted(self._refit())

    async def ping(self) -> None:
        """Unavailable unless HAProxy answers and takes connections, at the doors that [gateway] asks for."""
        if (await (await self.container.runtime()).workers()).current is None:
            raise Unavailable("the gateway has no worker", hint="docker logs of its container say why")
        if self._refused:
            raise Unavailable(self._refused, hint="change [gateway], then restart deployd")

    def holds(self, app: str, endpoint: Endpoint) -> bool:
        """`endpoint` has a slot: it serves or drains."""
        return app in self._routes and self._routes[app].find(endpoint) is not None

    @property
    def apps(self) -> Sequence[str]:
        """The apps that have doors."""
        return tuple(self._routes)

    async def _learn(self, routes: dict[str, Route]) -> dict[str, Route]:
        """The routes as HAProxy has them, which may be ahead of the file."""
        runtime, found = await self.container.runtime(), dict(routes)
        for name, route in routes.items():
            if slots := await runtime.slots(route.backend):
                found[name] = learned(route, slots)
        return found

    async def _settle(self) -> None:
        """Bring file, container and run-time state to what the routes say; without any there need not be a gateway."""
        if not self._routes and await self.container.find() is None:
            return
        if self._file.text() != render(self._doors, self._routes.values()):
            self._write(self._routes)
        if await self.container.ensure(self._ports(self._doors, self._routes)):
            logger.info("The gateway was started")
            return
        runtime = await self.container.runtime()
        # Without routes the file was damaged, and HAProxy knows better: `ensure` says which doors there are.
        if self._routes and await runtime.description() != shape(self._doors, self._routes.values()):
            await self._reload_what_was_written()
            return
        for route in self._routes.values():
            slots = await runtime.slots(route.backend)
            now = Route(route.app, slots=slots)
            if slots and now.serving != route.serving:
                logger.warning(
                    "The gateway sent %s to %s instead of %s: corrected", route.app, now.serving, route.serving
                )
                await runtime.apply(commands(route.backend, slots, route.slots))

    async def _reload_what_was_written(self) -> None:
        """HAProxy runs with another text than the file's: somebody was interrupted between writing and reloading."""
        try:
            await self._reload()
        except RolloutFailed as exc:
            raise Unavailable(exc.message, hint=exc.hint) from exc
        logger.info("The gateway has loaded its present config")

    async def _refit(self) -> None:
        """From the doors in use to those that are asked for, by a reload or, in a container of another shape, a takeover."""
        before = self._doors
        try:
            if not self.container.bridge:
                held = self._ports(before, self._routes) | {port for _, port in claims(before)}
                must_be_free(claims(self._asked), held)
            self._doors = self._asked
            self._write(self._routes)
            if await self.container.outdated(self._ports(self._doors, self._routes)):
                await self.container.upgrade(self._ports(self._doors, self._routes))
            else:
                await self._reload()
        except DeploydError as exc:
            self._doors = before
            self._write(self._routes)
            self._refused = f"the gateway stays as it was: {exc.message}"
            raise Unavailable(self._refused, hint=exc.hint) from exc
        self._refused = ""
        logger.info("The gateway is as [gateway] asks")

    async def _start(self, wanted: dict[str, Route]) -> None:
        """The first app makes the gateway. Where ports are published, that of the first apps are from the start."""
        if not self._routes and await self.container.find() is None:
            self._doors = self._asked
            self._write(self._routes)
            await self.container.ensure(self._ports(self._doors, wanted))

    async def _restructure(self, wanted: dict[str, Route]) -> None:
        """Other doors: a new file, then a hitless reload; when that fails the old ones stay."""
        before, wanted = self._routes, await self._learn(wanted)
        if not self.container.bridge:
            open_now = await (await self.container.runtime()).frontends()
            ports = {route.listen for route in wanted.values() if route.listen is not None}
            held = {port for port in ports if f"port-{port}" in open_now}
            must_be_free({(self._doors.bind, port): "app.gateway.listen" for port in ports}, held)
        self._write(wanted)
        try:
            if self.container.bridge and await self.container.ensure(self._ports(self._doors, wanted)):
                self._routes = wanted
                return
            await self._reload()
        except (RolloutFailed, Unavailable):
            self._write(before)
            raise
        self._routes = wanted

    async def _reload(self) -> None:
        runtime = await self.container.runtime()
        try:
            async with asyncio.timeout(_RELOAD_SECONDS):
                started = await runtime.reload()
        except TimeoutError as exc:
            raise Unavailable("the gateway does not come back from a reload") from exc
        if not started:
            raise RolloutFailed("the gateway cannot use its new config", hint=await self.container.last_words())

    async def _apply(self, runtime: Runtime, before: Route, after: Route) -> None:
        """Change the slots and look whether they are as they should be, here and in what only finishes."""
        lines = commands(before.backend, before.slots, after.slots)
        await runtime.apply(lines)
        now = await runtime.slots(after.backend)
        if Route(after.app, slots=now).serving != after.serving:
            raise Unavailable(f"the gateway does not switch {after.app}: {now}")
        for retired in await self.container.retired():
            await retired.apply(lines)

    async def _put_back(self, runtime: Runtime, after: Route, before: Route) -> None:
        try:
            await runtime.apply(commands(before.backend, after.slots, before.slots))
        except Unavailable as exc:
            # The file still has what served before, so HAProxy comes back with it; reconcile corrects one that lives on.
            logger.warning("The gateway did not take back the switch of %s: %s", before.app, exc)

    def _ports(self, doors: Doors, routes: dict[str, Route]) -> set[int]:
        ports = {route.listen for route in routes.values()} | {doors.http_port, doors.https_port}
        return {port for port in ports if port is not None}

    @property
    def _asked(self) -> Doors:
        return Doors.of(self._section, bridge=self.container.bridge)

    def _write(self, routes: dict[str, Route]) -> None:
        self._file.write(render(self._doors, routes.values()))
