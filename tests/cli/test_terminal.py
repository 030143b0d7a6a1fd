"""On a terminal: a bar, colours, and the same words."""

import os
import pty
import subprocess
import sys

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


def test_deploy_wait_draws_a_bar_of_the_steps(daemon: Neighbour) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    code, seen = _on_a_terminal(daemon.url, "deploy", "iris", "--wait")
    assert code == 0
    for words in ("✓ fetch", "✓ build", "━━━━", "iris/1 is live after", "\x1b[32m"):
        assert words in seen


def test_logs_show_the_steps_in_colour(daemon: Neighbour) -> None:
    daemon.do(daemon.desk.deployed(A))
    code, seen = _on_a_terminal(daemon.url, "logs", "iris/1", "-f")
    assert code == 0
    assert "\x1b[1;36m==> fetch\x1b[0m\r\n" in seen
    assert "building deployd/test/iris\r\n" in seen
