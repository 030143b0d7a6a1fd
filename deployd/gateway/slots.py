"""How an app's traffic is laid out in HAProxy, and which commands change it. Pure: no sockets, no files.

A backend has SLOTS servers. All but the first are `backup`, so HAProxy sends traffic to the first that is ready, in order, and
decides that under one lock: with two servers ready, only one is used. A switch makes the new one ready and then drains the
old one; whichever of the two comes first in order, the traffic moves at exactly one of these commands, for every client at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Self

from deployd.config.app import App

SLOTS = 4


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """Where HAProxy reaches a container."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Use(StrEnum):
    """What a slot does, in HAProxy's words for a server's state."""

    READY = "ready"
    DRAIN = "drain"
    FREE = "maint"


@dataclass(frozen=True, slots=True)
class Slot:
    """One server of a backend. A free one may still hold an address."""

    endpoint: Endpoint | None = None
    use: Use = Use.FREE


@dataclass(frozen=True, slots=True)
class Route:
    """One app as the gateway sees it."""

    app: str
    listen: int | None = None
    hosts: tuple[str, ...] = ()
    path_prefix: str = "/"
    slots: tuple[Slot, ...] = (Slot(),) * SLOTS

    @classmethod
    def of(cls, app: App) -> Self:
        """The route that an app's config asks for, with nothing behind it yet."""
        return cls(app.name, app.gateway.listen, app.gateway.hosts, app.gateway.path_prefix)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; KeyError, TypeError or ValueError when it is none."""
        slots = tuple(Slot(Endpoint(**s["endpoint"]) if s["endpoint"] else None, Use(s["use"])) for s in data["slots"])
        return cls(data["app"], data["listen"], tuple(data["hosts"]), data["path_prefix"], slots)

    def to_json(self) -> dict[str, Any]:
        """Itself as JSON-ready data."""
        return asdict(self)

    @property
    def backend(self) -> str:
        """The name of its backend."""
        return f"app-{self.app}"

    @property
    def serving(self) -> Endpoint | None:
        """Where its traffic goes: the first ready slot."""
        return next((slot.endpoint for slot in self.slots if slot.use is Use.READY), None)

    def find(self, endpoint: Endpoint) -> int | None:
        """The index of the slot that holds `endpoint`."""
        return next((index for index, slot in enumerate(self.slots) if slot.endpoint == endpoint), None)

    def reshaped(self, like: "Route") -> "Route":
        """The same slots behind the doors of another route."""
        return replace(like, slots=self.slots)


def learned(route: Route, actual: Sequence[Slot]) -> Route:
    """`route` as HAProxy has it. What drains when it reloads is disabled afterwards, yet the former worker still drains it."""
    slots = (
        mine if mine.use is Use.DRAIN and has.use is Use.FREE else has
        for mine, has in zip(route.slots, actual, strict=True)
    )
    return replace(route, slots=tuple(slots))


def switched(route: Route, endpoint: Endpoint, sessions: Mapping[Endpoint, int]) -> Route:
    """`route` with all traffic going to `endpoint` and what served before draining.

    It takes its own slot if it has one (a way back), else a free one, else that of the drained one with the fewest `sessions`.
    """

    def burden(index: int) -> tuple[bool, bool, int]:
        slot = route.slots[index]
        return (
            slot.endpoint != endpoint,
            slot.use is not Use.FREE,
            sessions.get(slot.endpoint, 0) if slot.endpoint else 0,
        )

    candidates = [i for i, slot in enumerate(route.slots) if slot.use is not Use.READY or slot.endpoint == endpoint]
    chosen = min(candidates, key=burden)
    drained = list(held(route).slots)
    drained[chosen] = Slot(endpoint, Use.READY)
    return replace(route, slots=tuple(drained))


def held(route: Route) -> Route:
    """`route` with nothing that takes new requests: what served drains."""
    slots = (replace(slot, use=Use.DRAIN) if slot.use is Use.READY else slot for slot in route.slots)
    return replace(route, slots=tuple(slots))


def without(route: Route, endpoint: Endpoint) -> Route:
    """`route` with the slot of `endpoint` free again."""
    return replace(route, slots=tuple(Slot() if slot.endpoint == endpoint else slot for slot in route.slots))


def commands(backend: str, now: Sequence[Slot], then: Sequence[Slot]) -> list[str]:
    """The runtime commands from `now` to `then`: addresses, then what becomes ready, then what stops being ready."""
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
