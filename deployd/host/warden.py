"""Runs a command, and ends together with everything that the command started. A program of its own, which imports nothing of
deployd: `python -IS warden.py PARENT BYTES COMMAND [ARGUMENT...]`.

A process whose parent has ended becomes a child of this one (it is a "child subreaper"), so nothing gets away, however it
detaches itself. All are killed when the command has ended, on SIGTERM, when they use more than BYTES of memory together, and when
the process PARENT, which started this, is gone. The exit code is that of the command, 128 and more for the signal that ended it.
"""

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36  # of prctl
_MEASURE_S = 0.5
_AWAIT = {signal.SIGCHLD, signal.SIGTERM}
_PAGE = os.sysconf("SC_PAGE_SIZE")
_NOT_FOUND, _NOT_RUN, _KILLED = 127, 126, 137  # as a shell says it


def main(parent: int, limit: int, command: list[str]) -> int:
    """Run the command; its exit code."""
    libc = ctypes.CDLL(None)
    libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAIT)
    if os.getppid() != parent:  # it ended before the line above
        return _KILLED
    started = os.fork()
    if not started:
        _become(command, limit)
    try:
        return _until_it_ends(started, limit)
    finally:
        _kill_all()


def _become(command: list[str], limit: int) -> None:
    """Replace this process by the command."""
    with suppress(OSError, ValueError):  # where that is forbidden, the memory is still measured
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAIT)
    try:
        os.execvp(command[0], command)  # noqa: S606 - that is what it is for
    except OSError as exc:
        print(f"cannot run {command[0]}: {exc.strerror}", file=sys.stderr, flush=True)
        os._exit(_NOT_FOUND if isinstance(exc, FileNotFoundError) else _NOT_RUN)


def _until_it_ends(started: int, limit: int) -> int:
    while True:
        while (status := _reap(started)) is not None:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        told = signal.sigtimedwait(_AWAIT, _MEASURE_S)
        if told is not None and told.si_signo == signal.SIGTERM:
            return 128 + signal.SIGTERM
        if told is None and (used := sum(map(_memory, _descendants()))) > limit:
            print(f"killed: it used {used / 1024**2:.0f} MiB of memory", file=sys.stderr, flush=True)
            return _KILLED


def _reap(started: int) -> int | None:
    """Take the exit codes of those that have ended; that of the command, if it is among them."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == started:
                return found[1]
    return None


def _kill_all() -> None:
    """Kill all descendants, in rounds until none is left: each round finds processes that were started meanwhile."""
    while found := _descendants():
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(-1, 0)
        _reap(0)


def _descendants() -> list[int]:
    """The processes below this one."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib costs more than all the rest of this program
        if name.isdigit():
            with suppress(OSError, IndexError):
                parents[int(name)] = int(_read(f"/proc/{name}/stat").rpartition(")")[2].split()[1])
    below, found = {os.getpid()}, list[int]()
    while new := {pid for pid, parent in parents.items() if parent in below} - set(found):
        found += new
        below = new
    return found


def _memory(pid: int) -> int:
    with suppress(OSError, IndexError):
        return int(_read(f"/proc/{pid}/statm").split()[1]) * _PAGE
    return 0


def _read(path: str) -> str:
    with open(path) as file:  # noqa: PTH123 - as above
        return file.read()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
