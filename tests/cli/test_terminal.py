"""On a terminal: a bar, colours, and the same words."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from tests.cli.conftest import Neighbour
from tests.desk import MAIN, REPO, A


def _on_a_terminal(url: str, *arguments: str) -> tuple[int, str]:
    environment = {**os.environ, "DEPLOYD_URL": url, "TERM": "xterm-256color", "COLUMNS": "100"}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "deployd", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        try:
            while block := os.read(ours, 4096):
                seen += block
        except OSError:  # how Linux says that the other side has closed
            os.close(ours)
        return process.wait(60), seen.decode()


@pytest.mark.slow
def test_deploy_wait_draws_a_bar_of_the_steps(daemon: Neighbour) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    code, seen = _on_a_terminal(daemon.url, "deploy", "iris", "--wait")
    assert code == 0
    for words in ("✓ fetch", "✓ build", "━━━━", "iris/1 is live after", "\x1b[32m"):
        assert words in seen


@pytest.mark.slow
def test_logs_show_the_steps_in_colour(daemon: Neighbour) -> None:
    daemon.do(daemon.desk.deployed(A))
    code, seen = _on_a_terminal(daemon.url, "logs", "iris/1", "-f")
    assert code == 0
    assert "\x1b[1;36m==> fetch\x1b[0m\r\n" in seen
    assert "building deployd/test/iris\r\n" in seen


@pytest.mark.slow
def test_a_shell_in_the_release_has_the_keys_and_the_size_of_this_terminal(daemon: Neighbour) -> None:
    daemon.do(daemon.desk.deployed(A))
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))
    environment = {**os.environ, "DEPLOYD_URL": daemon.url, "TERM": "xterm"}
    environment = {name: value for name, value in environment.items() if name not in {"COLUMNS", "LINES"}}
    command = [sys.executable, "-m", "deployd", "exec", "-it", "iris", "--", "sh"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        _read_until(ours, b"33x99 ")
        os.write(ours, b"\x03")
        _read_until(ours, b"\x03")
        os.write(ours, b"q")
        assert process.wait(60) == 5
    assert termios.tcgetattr(theirs) == before
    os.close(theirs)
    os.close(ours)


def _read_until(terminal: int, words: bytes) -> None:
    seen = b""
    while words not in seen:
        seen += os.read(terminal, 4096)


@pytest.mark.slow
def test_a_shell_needs_a_terminal(daemon: Neighbour) -> None:
    command = [sys.executable, "-m", "deployd", "exec", "-it", "iris", "--", "sh"]
    environment = {**os.environ, "DEPLOYD_URL": daemon.url}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "error: standard input is not a terminal")
