"""The directory for files that are made once per machine, and the lock to make them under.

Base images and built binaries are slow to make, so they are kept outside of the checkout. The daemon needs none of them.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def directory() -> Path:
    """`deployd-testbed` in the user's cache directory; created if missing."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(home) / "deployd-testbed"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock `name`, which all processes of the machine share."""
    with (directory() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
