"""The process: exit codes, where errors go, help."""

import hashlib
import json
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

from deployd.cli.app import _MEANT, app
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


_ACT = {
    *("install", "uninstall", "run", "demo", "new", "init", "completion", "open", "pause", "resume", "scale", "exec"),
    *("remove", "cancel", "reload", "backup", "help", "token new", "hook install", "golden record"),
}
_PRINT_A_DOCUMENT = frozenset({"report", "golden schema"})


def test_every_command_that_reads_prints_json() -> None:
    for name, command in _commands(typer.main.get_command(app), "deployd"):
        options = {option for parameter in command.params for option in parameter.opts}
        acts = name.removeprefix("deployd ") in _ACT | _PRINT_A_DOCUMENT
        assert ("--json" in options) is not acts, name


@pytest.mark.slow
def test_a_daemon_that_cannot_be_reached_gives_exit_code_69_and_a_hint() -> None:
    with bind("127.0.0.1", 0) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    done = _deployd("status", DEPLOYD_URL=url)
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.splitlines()[0] == f"error: deployd at {url} does not answer: nothing listens there"
    assert done.stderr.splitlines()[1].startswith("hint: ")


@pytest.mark.slow
def test_a_wrong_config_gives_exit_code_78(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[server]\nprot = 1\n")
    for command in (["run", "--config", str(config)], ["check", "--config", str(config)]):
        done = _deployd(*command)
        assert done.returncode == 78
        assert "server.prot: unknown key (did you mean port?)" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_usage_names_what_is_required_and_what_is_not_as_other_tools_do(command: Callable[..., Result]) -> None:
    usages = [command(name, "--help").stdout.splitlines()[0] for name in ("deploy", "status", "scale", "diff")]
    assert [usage.partition("[OPTIONS] ")[2] for usage in usages] == [
        "APP[/N] [COMMIT]",
        "[APP]",
        "APP N",
        "APP/A [APP/B]",
    ]
    for name in ("scale", "check", "init"):
        helped = command(name, "--help").stdout
        assert "<" not in helped
        assert "[required]" not in helped


@pytest.mark.slow
def test_a_file_that_cannot_be_written_is_one_line_with_a_hint(daemon: Neighbour, tmp_path: Path) -> None:
    done = _deployd("backup", str(tmp_path / "none" / "b.db"), DEPLOYD_URL=daemon.url)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {tmp_path}/none/b.db: No such file or directory\nhint: make its directory, or name another file\n"
    )


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_the_command_without_a_word() -> None:
    schema = f"{sys.executable} -m deployd check --schema"
    done = subprocess.run(
        ["bash", "-c", f"{schema} | head -n 1"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("{\n", "")


@pytest.mark.slow
def test_a_role_that_is_too_small_is_named_with_the_one_that_is_needed(tmp_path: Path) -> None:
    token = {"name": "ci", "role": "read", "sha256": hashlib.sha256(b"secret").hexdigest()}
    with Neighbour(tmp_path, auth={"tokens": [token]}) as running:
        refused = _deployd("deploy", "iris", DEPLOYD_URL=running.public_url, DEPLOYD_TOKEN="secret")
    assert refused.stderr.splitlines()[0] == "error: this token has role read; deploying needs role deploy"
    assert refused.returncode == 1


def test_the_tokens_of_the_config_are_listed_without_a_daemon(tmp_path: Path, command: Callable[..., Result]) -> None:
    config = tmp_path / "config.toml"
    config.write_text("")
    assert "the config has no tokens" in command("token", "list", "-c", str(config)).stderr
    digest = "0" * 64
    config.write_text(f'[auth]\ntokens = [{{ name = "ci", role = "deploy", sha256 = "{digest}" }}]\n')
    rows = [line.split() for line in command("token", "list", "-c", str(config)).stdout.splitlines()]
    assert rows == [["NAME", "ROLE", "SHA256"], ["ci", "deploy", "000000000000…"]]
    listed = json.loads(command("token", "list", "-c", str(config), "--json").stdout)
    assert listed == {"tokens": [{"name": "ci", "role": "deploy", "sha256": digest}]}


def test_the_command_of_another_tool_is_told_by_its_name_here(command: Callable[..., Result]) -> None:
    there = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, meant in _MEANT.items():
        assert (name not in there, meant.split()[0] in there) == (True, True), name
    told = command("ps")
    assert (told.exit_code, "did you mean: deployd status\n" in told.stderr) == (2, True)
    assert "Did you mean 'status'" in command("statsu").stderr


def test_help_is_a_command_too(command: Callable[..., Result]) -> None:
    assert command("help").stdout == command("--help").stdout
    assert command("help", "token", "new").stdout == command("token", "new", "--help").stdout
    assert command("help", "nothing").exit_code == 2


def test_wrong_usage_gives_exit_code_2(command: Callable[..., Result]) -> None:
    for arguments in (["deploy"], ["nope"], ["cancel", "iris/x"], ["scale", "iris", "many"]):
        assert command(*arguments).exit_code == 2, arguments


@pytest.mark.slow
def test_a_deploy_that_fails_gives_exit_code_1_and_prints_json_on_standard_output(daemon: Neighbour) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    daemon.desk.builder.broken.add(A)
    done = _deployd("deploy", "iris", "--wait", "--json", DEPLOYD_URL=daemon.url)
    assert done.returncode == 1
    assert json.loads(done.stdout)["status"] == "failed"
    assert done.stderr == ""


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
