"""The servers of an app's HAProxy backend, and the commands that move its traffic between them. Pure: no sockets, no files.

A backend has SLOTS servers. All but the first are `backup`, so HAProxy uses only one of them: the first that is ready. It
decides that under one lock. A switch makes the new server ready and then drains the old one. Whatever their order, the traffic
moves at exactly one of these two commands, for every client at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Self

from deployd.config.app import App

SLOTS = 4


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """The address at which HAProxy reaches a container."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Use(StrEnum):
    """The state of a slot, as HAProxy names the states of a server."""

    READY = "ready"
    DRAIN = "drain"
    FREE = "maint"


@dataclass(frozen=True, slots=True)
class Slot:
    """One server of a backend. A free slot may still have an address."""

    endpoint: Endpoint | None = None
    use: Use = Use.FREE


@dataclass(frozen=True, slots=True)
class Route:
    """One app in the gateway: where it listens, and its slots. `canary`: a part of its traffic can go to a second release;
    `sticky`: by client; `sampled`: how many of 100,000 requests are recorded."""

    app: str
    listen: int | None = None
    hosts: tuple[str, ...] = ()
    path_prefix: str = "/"
    slots: tuple[Slot, ...] = (Slot(),) * SLOTS
    strip_prefix: bool = False
    canary: bool = False
    sticky: bool = False
    sampled: int = 0

    @classmethod
    def of(cls, app: App) -> Self:
        """The route that an app's config asks for, with all slots free."""
        gateway = app.gateway
        canary = bool(gateway.weights)
        return cls(
            app=app.name,
            listen=gateway.listen,
            hosts=gateway.hosts,
            path_prefix=gateway.path_prefix,
            strip_prefix=gateway.strip_prefix,
            canary=canary,
            sticky=canary and gateway.sticky,
            sampled=round(app.record.share * 100_000) if app.record is not None else 0,
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`. KeyError, TypeError or ValueError when `data` is not a route."""
        slots = tuple(Slot(Endpoint(**s["endpoint"]) if s["endpoint"] else None, Use(s["use"])) for s in data["slots"])
        # An older deployd did not write them.
        flags = {name: data.get(name, False) for name in ("strip_prefix", "canary", "sticky")}
        place = data["app"], data["listen"], tuple(data["hosts"]), data["path_prefix"]
        return cls(*place, slots, **flags, sampled=data.get("sampled", 0))

    def to_json(self) -> dict[str, Any]:
        """The route as data for JSON."""
        return asdict(self)

    @property
    def backend(self) -> str:
        """The name of its backend."""
        return f"app-{self.app}"

    @property
    def serving(self) -> Endpoint | None:
        """The endpoint that gets the traffic: that of the first ready slot."""
        return next((slot.endpoint for slot in self.slots if slot.use is Use.READY), None)

    def find(self, endpoint: Endpoint) -> int | None:
        """The index of the slot with `endpoint`."""
        return next((index for index, slot in enumerate(self.slots) if slot.endpoint == endpoint), None)

    def with_listeners_of(self, other: "Route") -> "Route":
        """This route's slots, with the port, hosts and path of another route."""
        return replace(other, slots=self.slots)


def as_reported(route: Route, actual: Sequence[Slot]) -> Route:
    """`route` with the slots that HAProxy reports. A slot that drained before a reload is reported as disabled afterwards, but
    the old worker still drains it: it stays draining."""
    slots = (
        mine if mine.use is Use.DRAIN and has.use is Use.FREE else has
        for mine, has in zip(route.slots, actual, strict=True)
    )
    return replace(route, slots=tuple(slots))


def switched(route: Route, endpoint: Endpoint, sessions: Mapping[Endpoint, int]) -> Route:
    """`route` with `endpoint` ready and the slot that served before draining."""
    drained = list(all_draining(route).slots)
    drained[_slot_for(route, endpoint, sessions)] = Slot(endpoint, Use.READY)
    return replace(route, slots=tuple(drained))


def beside(route: Route, endpoint: Endpoint, sessions: Mapping[Endpoint, int]) -> Route:
    """`route` with `endpoint` in a slot that drains: it gets no request but those that are sent there by name."""
    slots = list(route.slots)
    slots[_slot_for(route, endpoint, sessions)] = Slot(endpoint, Use.DRAIN)
    return replace(route, slots=tuple(slots))


def _slot_for(route: Route, endpoint: Endpoint, sessions: Mapping[Endpoint, int]) -> int:
    """The index of the slot for `endpoint`: the one that it has already, as on a switch back, else a free one, else the draining
    one with the fewest `sessions`."""

    def preference(index: int) -> tuple[bool, bool, int]:
        slot = route.slots[index]
        return (
            slot.endpoint != endpoint,
            slot.use is not Use.FREE,
            sessions.get(slot.endpoint, 0) if slot.endpoint else 0,
        )

    candidates = [i for i, slot in enumerate(route.slots) if slot.use is not Use.READY or slot.endpoint == endpoint]
    return min(candidates, key=preference)


def all_draining(route: Route) -> Route:
    """`route` with no slot ready: the slot that served drains."""
    slots = (replace(slot, use=Use.DRAIN) if slot.use is Use.READY else slot for slot in route.slots)
    return replace(route, slots=tuple(slots))


def freed(route: Route, endpoint: Endpoint) -> Route:
    """`route` with the slot of `endpoint` free."""
    return replace(route, slots=tuple(Slot() if slot.endpoint == endpoint else slot for slot in route.slots))


def commands(backend: str, now: Sequence[Slot], then: Sequence[Slot]) -> list[str]:
    """The runtime commands that turn `now` into `then`: first addresses, then slots that become ready, then all others."""
    addresses: list[str] = []
    opening: list[str] = []
    closing: list[str] = []
    for number, (old, new) in enumerate(zip(now, then, strict=True), start=1):
        server = f"set server {backend}/s{number}"
        if new.endpoint is not None and new.endpoint != old.endpoint:
            if old.use is not Use.FREE:
                addresses.append(f"{server} state {Use.FREE}")
            addresses.append(f"{server} addr {new.endpoint.host} port {new.endpoint.port}")
        if new.use is not old.use or (new.endpoint != old.endpoint and new.use is not Use.FREE):
            (opening if new.use is Use.READY else closing).append(f"{server} state {new.use}")
    return [*addresses, *opening, *closing]
