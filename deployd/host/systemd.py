"""systemd: socket activation (sd_listen_fds(3)) and notification (sd_notify(3)). Without systemd, all of this does nothing."""

import os
import socket
import sys

_FIRST_FD = 3


def inherited_sockets() -> list[socket.socket]:
    """The listening sockets that systemd opened for us, in the order of the unit. Also clears the variables, so that child
    processes do not take the sockets for theirs."""
    count, pid = os.environ.pop("LISTEN_FDS", "0"), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    found = [socket.socket(fileno=fd) for fd in range(_FIRST_FD, _FIRST_FD + int(count))]
    for one in found:
        one.setblocking(False)
        os.set_inheritable(one.fileno(), False)
    return found


def listens() -> bool:
    """Whether systemd wants to be told of states."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def stderr_is_journal() -> bool:
    """Whether standard error goes to the journal (sd-daemon(3)); a line may then begin with its priority, such as `<3>`."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def notify(state: str) -> None:
    """Send a state to systemd, such as `READY=1`; several are joined by newlines."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(state.encode(), address)
        except OSError:
            return  # nobody listens any more


def watchdog_seconds() -> float | None:
    """How often to send `WATCHDOG=1`: half of systemd's timeout; None when the watchdog is off."""
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not usec.isdigit() or pid != str(os.getpid()):
        return None
    return int(usec) / 2_000_000
