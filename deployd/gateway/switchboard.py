"""Moves the traffic of each app: switches, shares and drains, with what HAProxy reports about them.

Every change is made under one lock, and every question waits for it: in the middle of a reload HAProxy does not answer, or
answers as if nothing served.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from deployd.errors import Unavailable
from deployd.gateway.addresses import ports
from deployd.gateway.container import GatewayContainer
from deployd.gateway.file import ConfigFile
from deployd.gateway.moves import move, undo
from deployd.gateway.share import map_file, no_share, share
from deployd.gateway.slots import Endpoint, Route, Slot, Use, all_draining, as_reported, beside, freed, switched
from deployd.gateway.text import Listeners, render
from deployd.judge.traffic import Reading
from deployd.tasks import together


class Switchboard:
    """The routes of all apps, and the config file that always has their present state. `directory`: where the file is."""

    def __init__(self, container: GatewayContainer, directory: Path, listeners: Listeners) -> None:
        self.container = container
        self._file = ConfigFile(directory / "haproxy.cfg")
        self._map = ConfigFile(directory / "canary.map")
        self._listeners = listeners
        self._routes: dict[str, Route] = {}
        self._lock = asyncio.Lock()

    async def bring_up(self) -> None:
        """Make sure that HAProxy answers, for a roll-out that goes on: as it is, whatever was configured meanwhile."""
        async with self._lock:
            await self._bring_up()

    async def switch(self, app: str, endpoint: Endpoint) -> Endpoint | None:
        """Send all traffic of `app` to `endpoint`, for every client at once. What served before is returned; it drains.

        When that fails, it is undone first. The file is not written: `save` does that.
        """
        async with self._lock:
            await self._bring_up()
            runtime, route = await self.container.runtime(), self._routes[app]
            now, sessions = await together(runtime.slots(route.backend), runtime.sessions(route.backend))
            if not now:
                raise Unavailable(f"the gateway does not know {app}")
            before = as_reported(route, now)
            after = switched(before, endpoint, sessions)
            try:
                await move(self.container, runtime, before, after, no_share(after))
            except Unavailable:
                await undo(runtime, after, before)
                raise
            self._routes[app] = after
            return before.serving

    async def stop_traffic(self, app: str) -> None:
        """Drain what serves `app`; new requests get a 503 until the next switch."""
        async with self._lock:
            before, runtime = self._routes[app], await self.container.runtime()
            after = all_draining(before)
            await move(self.container, runtime, before, after, no_share(after))
            self._routes[app] = after
            self._write(self._routes)

    async def lend(self, app: str, endpoint: Endpoint, thousandths: int) -> None:
        """Send so many thousandths of the requests of `app` to `endpoint`, for LOAN_SECONDS; what serves gets all others.

        Called again, it extends the loan, also after a reload or a restart of HAProxy, with which it ends.
        """
        async with self._lock:
            runtime, route = await self.container.runtime(), self._routes[app]
            now, sessions = await together(runtime.slots(route.backend), runtime.sessions(route.backend))
            if not now:
                raise Unavailable(f"the gateway does not know {app}")
            before = replace(route, slots=now)
            after = beside(as_reported(route, now), endpoint, sessions)
            slot = after.slots.index(Slot(endpoint, Use.DRAIN))
            await move(self.container, runtime, before, after, [share(after, slot, thousandths, time.time())])
            if self._routes[app] != after:
                self._routes[app] = after
                self._write(self._routes)

    async def call_back(self, app: str) -> None:
        """Send all requests of `app` to its live release, for every client at once. A release that had a share finishes its
        requests."""
        async with self._lock:
            for runtime in [await self.container.runtime(), *await self.container.replaced()]:
                await runtime.apply(no_share(self._routes[app]))

    async def reading(self, app: str, *, latencies: bool = True) -> Reading:
        """HAProxy's counters for each endpoint of `app`; without `latencies` it is a cheaper question."""
        async with self._lock:
            if app not in self._routes:
                return {}
            return await (await self.container.runtime()).counters(self._routes[app].backend, latencies=latencies)

    async def readings(self) -> Mapping[str, Reading]:
        """HAProxy's counters for each app that it listens for, in one question: for each endpoint, and for the app as a whole, at
        a place without an address."""
        async with self._lock:
            if not self._routes:
                return {}
            backends = [route.backend for route in self._routes.values()]
            counted = await (await self.container.runtime()).all_counters(backends)
            return {app: counted.get(route.backend, {}) for app, route in self._routes.items()}

    async def save(self) -> None:
        """Write the present state to the file, so that HAProxy can start with it without deployd."""
        async with self._lock:
            self._write(self._routes)

    async def serving(self, app: str) -> Endpoint | None:
        """The endpoint that gets the traffic of `app` now, as HAProxy reports it."""
        async with self._lock:
            if app not in self._routes:
                return None
            runtime = await self.container.runtime()
            slots = await runtime.slots(self._routes[app].backend)
            return Route(app, slots=slots).serving

    async def sessions(self, app: str) -> dict[Endpoint, int]:
        """Requests in progress for each endpoint, also in old workers and in a replaced HAProxy."""
        async with self._lock:
            if app not in self._routes:
                return {}
            return await self.container.sessions(self._routes[app].backend)

    async def release(self, app: str, endpoint: Endpoint) -> None:
        """Free the slot of `endpoint`, which then gets no traffic."""
        async with self._lock:
            if (before := self._routes.get(app)) is None or before.find(endpoint) is None:
                return
            after = freed(before, endpoint)
            await move(self.container, await self.container.runtime(), before, after)
            self._routes[app] = after
            self._write(self._routes)

    def has_slot(self, app: str, endpoint: Endpoint) -> bool:
        """Whether `endpoint` has a slot: it serves or drains."""
        return app in self._routes and self._routes[app].find(endpoint) is not None

    @property
    def apps(self) -> Sequence[str]:
        """The apps that the gateway listens for."""
        return tuple(self._routes)

    async def _bring_up(self) -> None:
        """Wait for a HAProxy that has just started, and start one that has ended."""
        if await self.container.answers():
            return
        if await self.container.runs():
            await self.container.wait_ready()
        elif self._routes:
            if not self._is_written:
                self._write(self._routes)
            await self.container.ensure(ports(self._listeners, self._routes))

    async def _end_shares(self) -> None:
        """End the shares that an earlier run of the daemon left if it died during a canary."""
        if lines := [line for route in self._routes.values() for line in no_share(route)]:
            await (await self.container.runtime()).apply(lines)

    @property
    def _is_written(self) -> bool:
        """Whether HAProxy would start with the present state; without its map it would not start at all."""
        text, canaries = render(self._listeners, self._routes.values()), map_file(self._routes.values())
        return (self._file.text(), self._map.text()) == (text, canaries)

    def _write(self, routes: dict[str, Route]) -> None:
        if self._map.text() != (canaries := map_file(routes.values())):
            self._map.write(canaries)
        self._file.write(render(self._listeners, routes.values()))
