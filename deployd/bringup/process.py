"""Processes that go on after the one that started them: an engine, the parts of a test cluster.

Each has its own session, so that Ctrl-C does not reach it, and a file for its output.
"""

import os
from collections.abc import Mapping
from pathlib import Path


def spawn(command: list[str], log: Path, environment: Mapping[str, str] | None = None) -> int:
    """Start `command` (its first word an absolute path) and append its output to `log`; return its process id.

    Returns after the exec: before it, /proc shows the child with the command line of its parent.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    redirect = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    until_exec, write_end = os.pipe()  # the exec closes the child's end
    with os.fdopen(until_exec, "rb") as ended:
        try:
            pid = os.posix_spawn(command[0], command, environment or os.environ, file_actions=redirect, setsid=True)
        finally:
            os.close(write_end)
        ended.read()
    return pid


def gone(pid: int) -> bool:
    """Whether process `pid` has ended. Reaps it when it is a child of this process."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        pass
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
