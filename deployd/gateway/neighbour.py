"""Detects another daemon with the same instance on this engine, by the owner of the gateway.

Two such daemons would replace each other's gateway. One whose state directory was moved is the same daemon: where it was, nothing
is left.
"""

import fcntl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployd.errors import Unavailable
from deployd.gateway.described import files_of


def require_ours(found: Mapping[str, Any], directory: Path, instance: str) -> None:
    """Unavailable when the gateway's container belongs to another daemon. `directory` is where ours has its files."""
    its = files_of(found)
    if its is None or its.resolve() == directory.resolve():
        return
    if (other := _daemon_at(its.parent)) is not None:
        raise Unavailable(
            f"another deployd ({other}) uses this engine as instance {instance}",
            hint=f"give each daemon a [server] instance of its own, or remove {its.parent} if that deployd no longer exists",
        )


def _daemon_at(state_dir: Path) -> str | None:
    """The daemon with its state in that directory, now or formerly; None when there is none, as after a move, or it cannot be
    read."""
    try:
        with (state_dir / "lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return f"pid {file.read().strip()}, state directory {state_dir}"
            return f"not running, state directory {state_dir}"
    except OSError:
        return None
