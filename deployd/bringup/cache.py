"""Where what is made once a machine is kept, and the lock under which it is made.

Stand-in images and built binaries are large and slow to make, so they outlive a checkout; nothing in here is needed by a daemon.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def directory() -> Path:
    """`deployd-testbed` below the user's cache directory; made when it is not there."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(home) / "deployd-testbed"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the machine-wide lock `name`; a second process waits here until the first has made the thing."""
    with (directory() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
