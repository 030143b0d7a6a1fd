"""`deployd demo` from outside: what it prints, its exit code, and that it leaves nothing however it ends."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.leftovers import leftovers, remove

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(1_500)]

ROOT = Path(__file__).parents[2]
WITHIN = 1200.0  # Podman builds without its cache, and the machine may be busy


class Demo:
    """A running demo: its process, its output so far, and the name that everything it makes carries."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory / "temporary"
        self.directory.mkdir()
        self._said = directory / "said"
        self.instance = ""
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deployd", "demo", *arguments],
                cwd=ROOT,
                env=os.environ | {"TMPDIR": str(self.directory), "PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    @property
    def said(self) -> str:
        """The output so far."""
        return self._said.read_text()

    def says(self, text: str) -> None:
        """Wait until it has printed `text`; read its instance from the output."""
        deadline = monotonic() + WITHIN
        while text not in self.said:
            assert self.process.poll() is None, self.said
            assert monotonic() < deadline, self.said
            sleep(0.05)
        (config,) = self.directory.glob("deployd-demo-*/config.toml")
        self.instance = re.findall(r'^instance = "(.*)"$', config.read_text(), re.MULTILINE)[0]

    def relatives(self) -> list[str]:
        """The command lines of processes that belong to it."""
        found = []
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.directory) in line:
                found.append(line)
        return found


@contextmanager
def demo(directory: Path, engine: Engine, *arguments: str) -> Iterator[Demo]:
    """A demo that is killed and cleaned up when the test fails."""
    running = Demo(directory, *arguments)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait(WITHIN)
        print(running.said)
        if running.instance:
            remove(engine.api(), running.instance)


def _nothing_is_left(running: Demo, engine: Engine) -> None:
    assert leftovers(engine.api(), running.instance) == []
    assert list(running.directory.iterdir()) == []
    assert running.relatives() == []


def test_the_demo_succeeds_and_leaves_nothing(tmp_path: Path, docker_engine: Engine, training_layers: None) -> None:
    with demo(tmp_path, docker_engine, "--once") as running:
        running.says("the first push")
        assert running.process.wait(WITHIN) == 0
        held = re.search(r"^(\d+) of (\d+) promises held$", running.said, re.MULTILINE)
        assert held is not None
        assert held[1] == held[2]
        assert re.search(r"requests were sent, 0 failed", running.said)
        assert "\x1b" not in running.said
        _nothing_is_left(running, docker_engine)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing(
    number: signal.Signals, tmp_path: Path, docker_engine: Engine, base_images: object
) -> None:
    with demo(tmp_path, docker_engine) as running:
        running.says("Running in")
        running.process.send_signal(number)
        running.process.send_signal(number)
        assert running.process.wait(WITHIN) == 130
        assert "Traceback" not in running.said
        _nothing_is_left(running, docker_engine)
