"""Network namespaces for engines beside the machine's own: iptables chains, bridges and ports of their own.

What runs in one reaches the outside through the host, by a pair of virtual interfaces; nothing outside reaches into it.
"""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deployd.bringup.cache import locked
from deployd.bringup.packages import ensure_packages
from deployd.errors import Unavailable

_NUMBERS = range(1, 250)
_ADMINS = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Namespace:
    """The network namespace `name`. Its addresses are 10.214.N.0/30: the host has .1, the namespace .2."""

    name: str

    @property
    def path(self) -> Path:
        """The file that nsenter opens."""
        return Path("/run/netns", self.name)

    def command(self, *words: str) -> list[str]:
        """A command that runs `words` in it, in the same process."""
        return ["/usr/bin/nsenter", f"--net={self.path}", *words]

    def up(self) -> None:
        """Make it, unless it is there."""
        ensure_packages("iproute2", "iptables")
        with locked("namespaces"):
            if self.number() is not None:
                return
            self._remove()
            number = next(number for number in _NUMBERS if f"10.214.{number}." not in _run("ip", "-o", "address"))
            self._make(number)

    def down(self) -> None:
        """Remove it, with what it needs on the host; processes in it keep it alive, but alone."""
        with locked("namespaces"):
            if (number := self.number()) is not None:
                for rule in _rules(number):
                    subprocess.run(
                        ["iptables", "-w", *rule.deleted], env=_environment(), capture_output=True, check=False
                    )
                _run("ip", "link", "delete", _outer(number))
            self._remove()

    def number(self) -> int | None:
        """The number in its addresses; None when it is not up."""
        if not self.path.exists():
            return None
        for line in _run("ip", "-n", self.name, "-o", "-4", "address", check=False).splitlines():
            address = line.split()[3]
            if address.startswith("10.214."):
                return int(address.split(".")[2])
        return None

    def _make(self, number: int) -> None:
        outer, inner = _outer(number), "uplink"
        _run("ip", "netns", "add", self.name)
        _run("ip", "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", self.name)
        _run("ip", "address", "add", f"10.214.{number}.1/30", "dev", outer)
        _run("ip", "link", "set", outer, "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("link", "set", inner, "up"),
            ("address", "add", f"10.214.{number}.2/30", "dev", inner),
            ("route", "add", "default", "via", f"10.214.{number}.1"),
        ):
            _run("ip", "-n", self.name, *words)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")
        for rule in _rules(number):
            _run("iptables", "-w", *rule.added)

    def _remove(self) -> None:
        if self.path.exists():
            _run("ip", "netns", "delete", self.name)


@dataclass(frozen=True, slots=True)
class _Rule:
    table: str
    chain: str
    words: tuple[str, ...]

    @property
    def added(self) -> tuple[str, ...]:
        """The arguments of iptables that put it first, before Docker's own."""
        return ("-t", self.table, "-I", self.chain, *self.words)

    @property
    def deleted(self) -> tuple[str, ...]:
        return ("-t", self.table, "-D", self.chain, *self.words)


def _rules(number: int) -> Iterator[_Rule]:
    network = f"10.214.{number}.0/30"
    yield _Rule("nat", "POSTROUTING", ("-s", network, "-j", "MASQUERADE"))
    yield _Rule("filter", "FORWARD", ("-s", network, "-j", "ACCEPT"))
    yield _Rule("filter", "FORWARD", ("-d", network, "-j", "ACCEPT"))


def _outer(number: int) -> str:
    return f"deployd-n{number}"


def _environment() -> dict[str, str]:
    return os.environ | {"PATH": f"{os.environ.get('PATH', '')}:{_ADMINS}"}


def _run(*command: str, check: bool = True) -> str:
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise Unavailable(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
