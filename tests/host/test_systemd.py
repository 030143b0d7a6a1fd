import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deployd.host import systemd


def test_a_state_reaches_the_notify_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(address)
        receiver.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        systemd.notify("READY=1\nSTATUS=well")
        assert receiver.recv(100) == b"READY=1\nSTATUS=well"


@pytest.mark.parametrize("address", [None, "", "/nonexistent/socket"])
def test_without_systemd_a_notification_does_nothing(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    systemd.notify("READY=1")


def test_standard_error_is_the_journal_where_systemd_says_that_it_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    del capfd  # standard error has a file descriptor
    status = os.fstat(sys.stderr.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert systemd.stderr_is_journal()
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    assert not systemd.stderr_is_journal()


def test_the_watchdog_is_notified_twice_within_its_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert systemd.watchdog_seconds() == 15
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert systemd.watchdog_seconds() is None


def test_sockets_for_another_process_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", "1")
    assert systemd.inherited_sockets() == []


def test_an_inherited_socket_is_taken_and_its_variables_cleared() -> None:
    program = (
        "import os; os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "from deployd.host import systemd\n"
        "(one,) = systemd.inherited_sockets()\n"
        "print(one.getsockname()[1], 'LISTEN_FDS' in os.environ)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        saved = os.dup(3) if _is_open(3) else None
        os.dup2(server.fileno(), 3)
        try:
            result = subprocess.run(
                [sys.executable, "-c", program],
                env={**os.environ, "LISTEN_FDS": "1"},
                pass_fds=[3],
                capture_output=True,
                text=True,
                check=True,
            )
        finally:
            if saved is not None:
                os.dup2(saved, 3)
                os.close(saved)
            else:
                os.close(3)
    assert result.stdout.split() == [str(port), "False"]


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
