"""The Unix socket of the command line: whoever may connect to it may do everything, and the kernel tells who they are.

The file's group is the permission, as with Docker's socket. The file is there only while the daemon runs.
"""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from starlette.types import Scope

from deployd.errors import ConfigError, Unavailable
from deployd.host.unix import short

PEER = "deployd.peer"  # the key in a scope's extensions

_MODE = 0o660
_PASSING = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
_CREDENTIALS = struct.Struct("iII")  # struct ucred: process, user, group


@contextmanager
def local_socket(path: Path) -> Iterator[socket.socket]:
    """Listen at `path`, for the file's owner and group; remove the file at the end. ConfigError when that is not possible."""
    try:
        bound = _bound(path)
    except OSError as exc:
        if exc.errno in _PASSING:
            raise Unavailable(f"cannot listen at {path}: {exc.strerror}", hint="free space on that disk") from exc
        hint = "set server.socket to a path that deployd may write"
        raise ConfigError(f"server.socket: cannot listen at {path}: {exc.strerror or exc}", hint=hint) from exc
    ours = path.stat().st_ino
    try:
        with bound:
            yield bound
    finally:
        with suppress(OSError):
            if path.stat().st_ino == ours:
                path.unlink()


def user_of(transport: asyncio.Transport) -> int | None:
    """The user id of the process at the other end of a Unix socket; None for any other connection."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    with socket.socket(fileno=os.dup(connection.fileno())) as copy:
        _, user, _ = _CREDENTIALS.unpack(copy.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(user)


def local_user(scope: Scope) -> int | None:
    """The user id of the sender of a request that came through a Unix socket; None for any other request."""
    peer = scope.get("extensions", {}).get(PEER)
    return None if peer is None else int(peer["user"])


def _bound(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            _remove_unused(path)
        before = os.umask(0o177)  # nobody else may connect before the mode is set
        try:
            with short(path) as name:
                bound.bind(name)
        finally:
            os.umask(before)
        path.chmod(_MODE)
        bound.listen(128)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound


def _remove_unused(path: Path) -> None:
    """Remove the socket that a killed daemon left; one that another daemon listens at stays."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, short(path) as name:
        if probe.connect_ex(name) == 0:
            raise OSError("another deployd listens there")
    path.unlink()
