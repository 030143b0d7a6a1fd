import os
import signal
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

from deployd.bringup.process import gone, spawn


def wait_until_gone(pid: int) -> None:
    deadline = monotonic() + 20
    while not gone(pid):
        assert monotonic() < deadline
        sleep(0.01)


def test_the_output_of_a_process_is_appended_to_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for word in ("one", "two"):
        wait_until_gone(spawn(["/bin/sh", "-c", f"echo {word}; echo {word} >&2"], log))
    assert log.read_text() == "one\none\ntwo\ntwo\n"


def test_a_process_has_its_own_session(tmp_path: Path) -> None:
    pid = spawn(["/bin/sh", "-c", "sleep 60"], tmp_path / "log")
    try:
        assert os.getsid(pid) == pid
        assert not gone(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)


def test_a_process_gets_the_given_environment(tmp_path: Path) -> None:
    log = tmp_path / "log"
    wait_until_gone(spawn([sys.executable, "-c", "import os; print(os.environ['WHO'])"], log, {"WHO": "deployd"}))
    assert log.read_text() == "deployd\n"


@pytest.mark.slow
def test_a_process_never_shows_the_command_line_of_its_parent(tmp_path: Path) -> None:
    for _ in range(200):
        pid = spawn(["/bin/sleep", "0"], tmp_path / "log")
        assert Path(f"/proc/{pid}/cmdline").read_bytes() in {b"", b"/bin/sleep\x000\x00"}
        wait_until_gone(pid)


def test_a_process_that_never_existed_is_gone() -> None:
    assert gone(2**22 + 1)
