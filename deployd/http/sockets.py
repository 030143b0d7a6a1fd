"""The sockets on which the daemon listens."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deployd.config.daemon import ServerSection
from deployd.host import systemd
from deployd.http.local import local_socket
from deployd.http.server import bind


@dataclass(frozen=True, slots=True)
class Sockets:
    """The daemon's listening sockets: `public` is for webhooks, health and whoever has a token, `local` for the command line."""

    public: list[socket.socket]
    local: list[socket.socket]

    def __str__(self) -> str:
        return ", ".join(_address(one.getsockname()) for one in (*self.public, *self.local))


@contextmanager
def sockets_of(server: ServerSection) -> Iterator[Sockets]:
    """Open the sockets, or take those that systemd opened."""
    inherited = systemd.inherited_sockets()
    public = [one for one in inherited if one.family != socket.AF_UNIX]
    with local_socket(server.local_socket) as local:
        given = [one for one in inherited if one.family == socket.AF_UNIX]
        yield Sockets(public or [bind(server.host, server.port)], [local, *given])


def _address(name: object) -> str:
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else str(name)
