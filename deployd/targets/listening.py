"""Explains why nothing answers at an app's port, from the container's listening sockets and the image's EXPOSE. Pure."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
"""The files in which the kernel lists a container's sockets."""

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
    """Why a port does not answer, and what to do about it; the latter is empty where only the app's output can tell."""

    reason: str
    hint: str


def parse(table: str) -> list[Listener]:
    """The listeners in the text of /proc/net/tcp and /proc/net/tcp6."""
    # The engine's own name server listens in every container.
    rows = (match for line in table.splitlines() if (match := _ROW.match(line)) is not None)
    found = {Listener(int(row[2], 16), _address(row[1])) for row in rows if row[3] == _LISTENS}
    return sorted((listener for listener in found if listener.address != _ENGINE_S_DNS), key=str)


def silence(port: int, listeners: list[Listener] | None, exposed: list[int], table: str) -> Silence | None:
    """Why `port` does not answer; None when something reachable listens on it, or nothing is known.

    `listeners`: None when they are not known; `table`: the one in the config that has the port.
    """
    said = f"; its image EXPOSEs {_listed(exposed)}" if exposed and port not in exposed else ""
    if listeners is None:
        if not said:
            return None
        hint = f"set port in [{table}] to where the app listens, perhaps {exposed[0]}"
        return Silence(f"[{table}] port is {port}{said}", hint)
    here = [listener for listener in listeners if listener.port == port]
    if any(listener.reachable for listener in here):
        return None
    if here:
        return Silence(
            f"the app listens on {here[0]}, which only its own container reaches",
            f"let it listen on 0.0.0.0:{port}; many servers have --host 0.0.0.0",
        )
    if not listeners:
        return Silence(f"the app listens on no port, [{table}] port is {port}{said}", "")
    there = [listener.port for listener in listeners if listener.reachable]
    hint = f"set port = {there[0]} in [{table}]" if there else f"let the app listen on 0.0.0.0:{port}"
    return Silence(f"the app listens on {_listed(listeners)}, [{table}] port is {port}{said}", hint)


def _address(digits: str) -> str | None:
    """An address as the kernel writes it: in words of four bytes, each with its lowest byte first."""
    words = (bytes.fromhex(digits[at : at + 8])[::-1] for at in range(0, len(digits), 8))
    address = ipaddress.ip_address(b"".join(words))
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return None if address.is_unspecified else str(address)


def _listed(found: Iterable[Listener | int]) -> str:
    return ", ".join(dict.fromkeys(map(str, found)))
