"""Why nothing answers at an app's port: what its container listens on instead, and what its image says with EXPOSE.

The kernel's table of sockets is read in the container (with `cat`), else from the host's /proc, which only counts where the
process is surely the container's.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployd.engine.client import EngineClient
from deployd.errors import Unavailable

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_LISTENS = "0A"
_ENGINE_S_DNS = "127.0.0.11"
_ROW = re.compile(r"\s*\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) \S+ ([0-9A-F]{2}) ")


@dataclass(frozen=True, slots=True, order=True)
class Listener:
    """A listening socket. `address` is None for all addresses."""

    port: int
    address: str | None

    @property
    def reachable(self) -> bool:
        """Whether it can be reached from outside of the container."""
        return self.address is None or not ipaddress.ip_address(self.address).is_loopback

    def __str__(self) -> str:
        if self.address is None:
            return str(self.port)
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Silence:
    """Why a port does not answer, and what to do about it."""

    reason: str
    hint: str


def parse(table: str) -> list[Listener]:
    """The listeners in the text of /proc/net/tcp and /proc/net/tcp6."""
    # The engine's own name server listens in every container.
    rows = (match for line in table.splitlines() if (match := _ROW.match(line)) is not None)
    found = {Listener(int(row[2], 16), _address(row[1])) for row in rows if row[3] == _LISTENS}
    return sorted((listener for listener in found if listener.address != _ENGINE_S_DNS), key=str)


def silence(port: int, listeners: list[Listener] | None, exposed: list[int]) -> Silence | None:
    """Why `port` does not answer; None when something reachable listens on it, or nothing is known.

    `listeners`: None when they are not known.
    """
    said = f"; its image EXPOSEs {_listed(exposed)}" if exposed and port not in exposed else ""
    if listeners is None:
        if not said:
            return None
        hint = f"set port in [app.docker] to where the app listens, perhaps {exposed[0]}"
        return Silence(f"[app.docker] port is {port}{said}", hint)
    here = [listener for listener in listeners if listener.port == port]
    if any(listener.reachable for listener in here):
        return None
    if here:
        return Silence(
            f"the app listens on {here[0]}, which only its own container reaches",
            f"let it listen on 0.0.0.0:{port}; many servers have --host 0.0.0.0",
        )
    if not listeners:
        return Silence(f"the app listens on no port, [app.docker] port is {port}{said}", "read what the app printed")
    there = [listener.port for listener in listeners if listener.reachable]
    hint = f"set port = {there[0]} in [app.docker]" if there else f"let the app listen on 0.0.0.0:{port}"
    return Silence(f"the app listens on {_listed(listeners)}, [app.docker] port is {port}{said}", hint)


async def find(engine: EngineClient, container: Mapping[str, Any], port: int) -> Silence | None:
    """Why an inspected, running container does not answer at `port`; None when it should, or nobody can tell."""
    if container["HostConfig"]["NetworkMode"] == "host":
        return None  # the table is that of the machine
    image = await engine.images.inspect(container["Image"])
    exposed = sorted(
        int(one.partition("/")[0]) for one in ((image or {}).get("Config") or {}).get("ExposedPorts") or {}
    )
    table = await _table(engine, container)
    return silence(port, None if table is None else parse(table), exposed)


async def _table(engine: EngineClient, container: Mapping[str, Any]) -> str | None:
    printed = bytearray()

    async def take(data: bytes) -> None:
        printed.extend(data)

    try:
        code = await engine.containers.execute(container["Id"], ["cat", *_TABLES], take)
    except Unavailable:
        code = 1
    if code == 0:
        return printed.decode(errors="replace")
    return _from_proc(int(container["State"]["Pid"]), container["Id"])


def _from_proc(pid: int, container_id: str) -> str | None:
    """The same from the host's /proc; None when the process cannot be seen, or is not this container's."""
    process = Path("/proc", str(pid))
    try:
        if not pid or container_id not in (process / "cgroup").read_text():
            return None
        return "".join((process / table.removeprefix("/proc/")).read_text() for table in _TABLES)
    except OSError:
        return None


def _address(digits: str) -> str | None:
    """An address as the kernel writes it: in words of four bytes, each with its lowest byte first."""
    words = (bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8))
    address = ipaddress.ip_address(b"".join(words))
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return None if address.is_unspecified else str(address)


def _listed(found: Iterable[Listener | int]) -> str:
    return ", ".join(dict.fromkeys(map(str, found)))
