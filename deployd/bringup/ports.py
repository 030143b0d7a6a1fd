"""Ports to listen on later, by a process that cannot take 0.

The kernel's own choice will not do: it gives ports of the range from which outgoing connections have theirs, so that one may be
taken again before anybody listens, and the same one twice.
"""

import random
import socket

from deployd.errors import Unavailable

_RANGE = range(10_000, 30_000)  # below what Linux gives outgoing connections, and NodePorts of Kubernetes
_TRIES = 200

_given: set[int] = set()
_choice = random.SystemRandom()


def free_port() -> int:
    """A TCP port that nobody has now, on any address of this host, and that was not given before by this process."""
    for port in (_choice.choice(_RANGE) for _ in range(_TRIES)):
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise Unavailable(
        "no free port was found", hint=f"something listens on most of {_RANGE.start} to {_RANGE.stop - 1}"
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
