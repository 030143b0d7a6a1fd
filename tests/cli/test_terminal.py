"""On a terminal: a bar, colours, and the same words."""

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deployd.errors import RolloutFailed
from deployd.status import Status
from tests.api.reading import deployed
from tests.cli.conftest import Neighbour
from tests.desk import MAIN, REPO, A, B


@contextmanager
def _terminal(url: str, *arguments: str, **more: str) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """The command at a terminal of its own, and our end of it."""
    environment = {**os.environ, "DEPLOYD_URL": url, "TERM": "xterm-256color", "COLUMNS": "100", **more}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "deployd", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        yield process, ours
    os.close(ours)


def _on_a_terminal(url: str, *arguments: str, **more: str) -> tuple[int, str]:
    with _terminal(url, *arguments, **more) as (process, ours):
        seen = b""
        try:
            while block := os.read(ours, 4096):
                seen += block
        except OSError:  # how Linux says that the other side has closed
            pass
        return process.wait(60), seen.decode()


@pytest.mark.slow
def test_deploy_wait_draws_a_bar_of_the_steps(daemon: Neighbour) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    code, seen = _on_a_terminal(daemon.url, "deploy", "iris", "--wait")
    assert code == 0
    for words in ("✓ fetch", "✓ build", "━", "iris/1 is live after", "\x1b[32m"):
        assert words in seen


@pytest.mark.slow
def test_deploy_wait_shows_the_usual_time_and_the_end_of_the_log_below_the_bar(daemon: Neighbour) -> None:
    daemon.do(daemon.desk.deployed(A))
    daemon.desk.source.remotes[REPO][MAIN] = B
    held = daemon.desk.builder.held[B] = asyncio.Event()
    with _terminal(daemon.url, "deploy", "iris", "--wait") as (process, screen):
        _read_until(screen, b"building deployd/test/iris")
        daemon.loop.call_soon_threadsafe(held.set)
        _read_until(screen, b"iris/2 is live after")
        assert process.wait(60) == 0


@pytest.mark.slow
def test_after_ctrl_c_a_person_is_told_that_the_deploy_goes_on(daemon: Neighbour) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    daemon.desk.builder.held[A] = asyncio.Event()
    with _terminal(daemon.url, "deploy", "iris", "--wait") as (process, screen):
        _read_until(screen, b"building deployd/test/iris")
        process.send_signal(signal.SIGINT)
        _read_until(screen, b"iris/1 goes on; deployd cancel iris/1 stops it")
        assert process.wait(60) == 130
    daemon.do(daemon.desk.scheduler.cancel("iris", 1))


@pytest.mark.slow
def test_status_is_redrawn_in_place(daemon: Neighbour) -> None:
    with _terminal(daemon.url, "status", "--watch") as (process, screen):
        _read_until(screen, b"nothing live")
        daemon.do(daemon.desk.deployed(A))
        assert b"\x1b[1A" in _read_until(screen, b"#1")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


@pytest.mark.slow
def test_no_color_takes_the_colours_away(daemon: Neighbour) -> None:
    daemon.do(daemon.desk.deployed(A))
    code, seen = _on_a_terminal(daemon.url, "status", NO_COLOR="1")
    assert (code, "iris" in seen, "\x1b[3" in seen) == (0, True, False)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 160])
def test_no_line_is_wider_than_columns_says(daemon: Neighbour, columns: int) -> None:
    daemon.do(daemon.desk.deployed(A))
    daemon.do(_a_failure_with_a_long_reason(daemon))
    for command in (["history", "iris"], ["status"]):
        code, seen = _on_a_terminal(daemon.url, *command, COLUMNS=str(columns), NO_COLOR="1", TERM="dumb")
        listed = [line for line in seen.splitlines() if not line.startswith(("iris/2 failed", "iris is held"))]
        assert (code, max(map(len, listed)) <= columns) == (0, True), seen


async def _a_failure_with_a_long_reason(daemon: Neighbour) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = B
    daemon.desk.target.trouble = RolloutFailed("the candidate did not answer GET /ready within 60 s: " + "x" * 200)
    deploy = await daemon.desk.scheduler.deploy("iris", B, "a test")
    await daemon.desk.becomes("iris", deploy.number, Status.FAILED)


@pytest.mark.slow
def test_logs_show_their_colours_and_the_steps_as_they_were_recorded(daemon: Neighbour) -> None:
    daemon.do(deployed(daemon.desk, A))
    daemon.do(_printed(daemon, "\x1b[31mred\x1b[0m \x1b[2J\n==> not a step\n"))
    code, seen = _on_a_terminal(daemon.url, "logs", "iris/1", "-f")
    assert code == 0
    assert "\x1b[1;36m==> fetch\x1b[0m\r\n" in seen
    assert "building deployd/test/iris\r\n" in seen
    assert "\x1b[31mred\x1b[0m \r\n==> not a step\r\n" in seen


async def _printed(daemon: Neighbour, text: str) -> None:
    with daemon.desk.logs.open("iris", 1) as log:
        log.write(text)


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


def _read_until(terminal: int, words: bytes) -> bytes:
    seen = b""
    while words not in seen:
        seen += os.read(terminal, 4096)
    return seen


@pytest.mark.slow
def test_a_shell_needs_a_terminal(daemon: Neighbour) -> None:
    command = [sys.executable, "-m", "deployd", "exec", "-it", "iris", "--", "sh"]
    environment = {**os.environ, "DEPLOYD_URL": daemon.url}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "error: standard input is not a terminal")


@pytest.mark.slow
def test_force_color_behind_a_pipe_gives_colours_and_nothing_that_moves_the_cursor(daemon: Neighbour) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    environment = {**os.environ, "DEPLOYD_URL": daemon.url, "FORCE_COLOR": "1"}
    command = [sys.executable, "-m", "deployd", "deploy", "iris", "--wait"]
    seen = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stderr
    assert "\x1b[32m" in seen
    assert set(re.findall(r"\x1b\[[0-9;?]*([A-Za-z])", seen)) == {"m"}
