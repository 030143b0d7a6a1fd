"""The addresses that HAProxy is about to bind, checked first: HAProxy pauses its other listeners while it tries a port in use."""

import errno
import socket
from collections.abc import Iterable, Mapping

from deployd.errors import RolloutFailed
from deployd.gateway.slots import Route
from deployd.gateway.text import Listeners

Address = tuple[str, int]
"""An IP address and a port."""


def ports(listeners: Listeners, routes: Mapping[str, Route]) -> set[int]:
    """The ports on which clients reach the apps."""
    found = {route.listen for route in routes.values()} | {listeners.http_port, listeners.https_port}
    return {port for port in found if port is not None}


def addresses(listeners: Listeners) -> dict[Address, str]:
    """The addresses in `[gateway]`, each with the config key that sets it. Apps' own ports are not among them."""
    shared = {listeners.http_port: "gateway.http_port", listeners.https_port: "gateway.https_port"}
    found = {(listeners.bind, port): key for port, key in shared.items() if port is not None}
    if listeners.stats_port is not None:
        found["127.0.0.1", listeners.stats_port] = "gateway.stats_port"
    return found


def require_free(wanted: Mapping[Address, str], bound: Iterable[int]) -> None:
    """RolloutFailed when another program uses one of the wanted addresses; the hint names its config key.

    Ports that HAProxy itself has `bound`, at any address, are not checked: the check would find HAProxy's own socket.
    """
    ours = frozenset(bound)
    for (address, port), key in sorted(wanted.items()):
        if port not in ours and _in_use(address, port):
            raise RolloutFailed(f"port {port} is in use by another program", hint=f"stop it, or set another {key}")


def _in_use(address: str, port: int) -> bool:
    """Whether the port is in use. Any other error is ignored: deployd's user may not bind all that HAProxy, as root, may bind."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as exc:
            return exc.errno == errno.EADDRINUSE
    return False
