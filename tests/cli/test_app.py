"""The process: exit codes, where errors go, help."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import Result

from deployd.cli.app import app
from deployd.http.server import bind
from tests.cli.conftest import Neighbour
from tests.desk import MAIN, REPO, A


def _deployd(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DEPLOYD_")}
    return subprocess.run(
        [sys.executable, "-m", "deployd", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean | environment,
        check=False,
    )


def _commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    for part, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{name} {part}")
        else:
            yield f"{name} {part}", command


def test_every_command_shows_an_example_of_itself() -> None:
    commands = dict(_commands(typer.main.get_command(app), "deployd"))
    assert len(commands) >= 24
    for name, command in commands.items():
        assert name in command.epilog, name
        assert command.epilog.startswith("Example: "), name
        assert command.help, name


def test_a_daemon_that_cannot_be_reached_gives_exit_code_69_and_a_hint() -> None:
    with bind("127.0.0.1", 0) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    done = _deployd("status", DEPLOYD_URL=url)
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.splitlines()[0].startswith(f"error: deployd at {url} does not answer")
    assert done.stderr.splitlines()[1].startswith("hint: ")


def test_a_wrong_config_gives_exit_code_78(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[server]\nprot = 1\n")
    for command in (["run", "--config", str(config)], ["check", "--config", str(config)]):
        done = _deployd(*command)
        assert done.returncode == 78
        assert "server.prot: unknown key (did you mean port?)" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_wrong_usage_gives_exit_code_2(command: Callable[..., Result]) -> None:
    for arguments in (["deploy"], ["nope"], ["cancel", "iris"], ["scale", "iris", "many"]):
        assert command(*arguments).exit_code == 2, arguments


def test_a_deploy_that_fails_gives_exit_code_1_and_prints_json_on_standard_output(daemon: Neighbour) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    daemon.desk.builder.broken.add(A)
    done = _deployd("deploy", "iris", "--wait", "--json", DEPLOYD_URL=daemon.url)
    assert done.returncode == 1
    assert '"status": "failed"' in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_the_version_is_that_of_the_package(command: Callable[..., Result]) -> None:
    assert command("--version").stdout.strip().count(".") == 2


@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_daemon_without_apps_starts_and_stops(tmp_path: Path, number: signal.Signals, engine: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[server]\nport = 0\nstate_dir = "{tmp_path}/state"\n')
    command = [sys.executable, "-m", "deployd", "run", "--config", str(config)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"DOCKER_HOST": engine}
    ) as process:
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            seen.append(line)
            if "deployd listens on" in line:
                break
        process.send_signal(number)
        assert process.wait(30) == 0, seen + list(process.stderr)
