"""Free ports for processes that must be given one, since they cannot listen on port 0.

The kernel's choice for port 0 does not work here: it comes from the range of outgoing connections, so another connection may get
the port before the process listens.
"""

import random
import socket

from deployd.errors import Unavailable

_RANGE = range(10_000, 30_000)  # below Linux's range for outgoing connections, and below Kubernetes' NodePorts
_TRIES = 200

_used: set[int] = set()
_choice = random.SystemRandom()


def free_port() -> int:
    """A TCP port that is free on every address of this host, and that this process did not return before."""
    for port in (_choice.choice(_RANGE) for _ in range(_TRIES)):
        if port not in _used and _is_free(port):
            _used.add(port)
            return port
    raise Unavailable(
        "no free port was found", hint=f"most of the ports {_RANGE.start} to {_RANGE.stop - 1} are in use"
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
