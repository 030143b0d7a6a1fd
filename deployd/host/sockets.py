"""Which process listens on a port, as the kernel tells it."""

from contextlib import suppress
from pathlib import Path

_TABLES = ("tcp", "tcp6")
_LISTENS = "0A"


def listens(pid: int, port: int) -> bool | None:
    """Whether the process listens on the TCP port; None when this user may not look into the process."""
    process, sockets = Path("/proc", str(pid)), set[str]()
    try:
        for descriptor in (process / "fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                sockets.add(str(descriptor.readlink()))
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return any(f"socket:[{inode}]" in sockets for inode in _inodes(process, port))


def _inodes(process: Path, port: int) -> list[str]:
    """The inodes of the sockets that listen on the port, in the network of the process."""
    rows: list[list[str]] = []
    for table in _TABLES:
        path = process / "net" / table
        rows += [line.split() for line in path.read_text().splitlines()[1:]] if path.exists() else []
    return [row[9] for row in rows if row[3] == _LISTENS and int(row[1].rpartition(":")[2], 16) == port]
