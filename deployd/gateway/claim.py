"""Ports of this machine that HAProxy is about to bind: it would pause its other doors while it tries one that is taken."""

import errno
import socket
from collections.abc import Iterable, Mapping

from deployd.errors import RolloutFailed
from deployd.gateway.text import Doors

Address = tuple[str, int]
"""Where a port is bound, and its number."""


def claims(doors: Doors) -> dict[Address, str]:
    """The addresses of the doors that are no app's, each with the key that asks for it."""
    shared = {doors.http_port: "gateway.http_port", doors.https_port: "gateway.https_port"}
    found = {(doors.bind, port): key for port, key in shared.items() if port is not None}
    if doors.stats_port is not None:
        found["127.0.0.1", doors.stats_port] = "gateway.stats_port"
    return found


def must_be_free(wanted: Mapping[Address, str], held: Iterable[int]) -> None:
    """Refuse the first of the wanted addresses that another program has, naming the key that asks for it.

    Ports that HAProxy holds itself, at whatever address, are not looked at: its own socket would be found.
    """
    ours = frozenset(held)
    for (address, port), key in sorted(wanted.items()):
        if port not in ours and _taken(address, port):
            raise RolloutFailed(f"port {port} is in use by another program", hint=f"stop it, or set another {key}")


def _taken(address: str, port: int) -> bool:
    """Only what is taken counts: whether HAProxy, which is root, may bind it is not for deployd's user to find out."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as exc:
            return exc.errno == errno.EADDRINUSE
    return False
