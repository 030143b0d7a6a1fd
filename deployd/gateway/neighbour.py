"""Another daemon that uses this engine under the same instance: whose gateway it is, and whether that daemon is alive.

Two such daemons would replace each other's gateway. One whose state directory was moved is the same daemon.
"""

import fcntl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployd.errors import Unavailable
from deployd.gateway.text import CONFIG


def require_ours(found: Mapping[str, Any], directory: Path, instance: str) -> None:
    """Unavailable when the gateway's container belongs to another daemon that runs. `directory` is where ours has its files."""
    its = _directory_of(found)
    if its is None or its == directory.absolute():
        return
    if (pid := _holder(its.parent / "lock")) is not None:
        raise Unavailable(
            f"another deployd (pid {pid}, state directory {its.parent}) uses this engine as instance {instance}",
            hint="give each daemon a [server] instance of its own",
        )


def _directory_of(found: Mapping[str, Any]) -> Path | None:
    """The directory with the files of a gateway's container, as a path on the host."""
    mounts = (bind.split(":") for bind in found["HostConfig"]["Binds"] or ())
    return next((Path(mount[0]).parent for mount in mounts if mount[1] == CONFIG), None)


def _holder(lock: Path) -> str | None:
    """The process that holds the lock of a state directory; None when none does."""
    try:
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip()
    except OSError:
        pass  # there is no such directory any more, or another user's daemon has it
    return None
