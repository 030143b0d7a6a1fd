"""Names of Unix sockets: the kernel takes no longer one than 107 bytes, while a directory may be as deep as it likes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST = 107


@contextmanager
def short(path: Path) -> Iterator[str]:
    """A name for the socket at `path` that the kernel takes, valid inside the block; OSError when its directory is not there."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
