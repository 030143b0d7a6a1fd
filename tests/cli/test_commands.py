"""Every command against a running daemon."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from typer.testing import Result

from deployd.domain import Status
from tests.cli.conftest import Neighbour
from tests.desk import MAIN, REPO, A, B, config_of, settings

Command = Callable[..., Result]


def test_deploy_wait_shows_the_steps_and_ends_live(daemon: Neighbour, command: Command) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    result = command("deploy", "iris", "--wait")
    assert result.exit_code == 0, result.output
    for words in (
        "iris/1 aaaaaaaaaaaa",
        "✓ fetch",
        "✓ build",
        "✓ candidate",
        "iris/1 is live",
        "http://127.0.0.1:8000",
    ):
        assert words in result.stderr
    assert result.stdout == ""


def test_deploy_wait_shows_the_progress_of_a_step(daemon: Neighbour) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    halfway = daemon.desk.target.halfway = asyncio.Event()
    waiting = [sys.executable, "-m", "deployd", "deploy", "iris", "--wait"]
    with subprocess.Popen(waiting, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "    candidate: 1 of 2 updated\n" in iter(process.stderr.readline, "")
        daemon.loop.call_soon_threadsafe(halfway.set)
        process.stderr.read()
    assert process.returncode == 0


def test_deploy_wait_says_why_it_failed_and_prints_the_end_of_the_log(daemon: Neighbour, command: Command) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    daemon.desk.builder.broken.add(A)
    result = command("deploy", "iris", "--wait")
    assert result.exit_code == 1
    for words in ("✗ build", "iris/1 failed: the command returned 1", "no such package: torhc"):
        assert words in result.stderr


def test_logs_that_are_followed_end_with_why_the_deploy_failed(daemon: Neighbour, command: Command) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    daemon.desk.builder.broken.add(A)
    command("deploy", "iris", "--wait")
    assert "iris/1 failed: the command returned 1" in command("logs", "iris", "-f").stderr


def test_history_shows_a_deploy_that_was_cancelled(daemon: Neighbour, command: Command) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    daemon.do(daemon.desk.scheduler.pause("iris", paused=True))
    command("deploy", "iris")
    assert command("cancel", "iris/1").exit_code == 0
    history = command("history", "iris").stdout
    assert "cancelled" in history
    assert "cancelled by hand" in history


def test_deploy_without_wait_says_how_to_follow(daemon: Neighbour, command: Command) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    assert "deployd logs iris/1 -f" in command("deploy", "iris", A).stdout


def test_deploy_as_json(daemon: Neighbour, command: Command) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    told = json.loads(command("deploy", "iris", "--wait", "--json").stdout)
    assert (told["number"], told["status"], told["commit"]) == (1, "live", A)


def test_status_shows_what_serves(daemon: Neighbour, command: Command) -> None:
    daemon.do(daemon.desk.deployed(A))
    lines = command("status").stdout.splitlines()
    assert lines[0].split() == ["APP", "STATE", "LIVE", "COMMIT", "SINCE", "IN", "FLIGHT", "URL"]
    assert lines[1].split()[:4] == ["iris", "live", "#1", A[:12]]
    assert "nothing live" in lines[2]
    assert [app["name"] for app in json.loads(command("status", "--json").stdout)] == ["iris", "rose"]
    assert json.loads(command("status", "iris", "--json").stdout)["live"]["commit"] == A


def test_history_diff_and_plan(daemon: Neighbour, command: Command) -> None:
    daemon.do(daemon.desk.deployed(A))
    daemon.do(daemon.desk.deployed(B))
    assert [line.split()[0] for line in command("history", "iris", "-n", "1").stdout.splitlines()] == [
        "DEPLOY",
        "iris/2",
    ]
    assert [one["number"] for one in json.loads(command("history", "iris", "--json").stdout)["deploys"]] == [2, 1]
    assert ["commit", A, B] in [line.split() for line in command("diff", "iris", "1", "2").stdout.splitlines()]
    assert json.loads(command("diff", "iris", "1", "2", "--json").stdout)["differences"][0]["what"] == "commit"
    assert "deployed before: iris/2" in command("plan", "iris", "main").stdout
    assert json.loads(command("plan", "iris", "main", "--json").stdout)["commit"] == B


def test_rollback_goes_back_to_the_release_before(daemon: Neighbour, command: Command) -> None:
    daemon.do(daemon.desk.deployed(A))
    daemon.do(daemon.desk.deployed(B))
    assert command("rollback", "iris", "--wait").exit_code == 0
    assert "back to #1" in command("history", "iris").stdout
    refused = command("rollback", "iris", "--to", "99")
    assert (refused.exit_code, refused.stderr) == (
        1,
        "error: iris/99 was never live\nhint: deployd history iris shows the deploys\n",
    )


def test_logs_of_a_deploy_and_of_the_newest(daemon: Neighbour, command: Command) -> None:
    daemon.do(daemon.desk.deployed(A))
    assert "==> fetch\n" in command("logs", "iris/1").stdout
    followed = command("logs", "iris", "-f")
    assert "iris/1 is live\n" in followed.stdout
    assert "iris/1 is live" in followed.stderr
    assert command("logs", "rose").stderr.startswith("error: rose has no deploys\nhint: deployd deploy rose")
    assert command("logs", "iris/x").exit_code == 2


def test_applog_describe_and_exec(daemon: Neighbour, command: Command) -> None:
    daemon.do(daemon.desk.deployed(A))
    assert command("applog", "iris", "--tail", "1").stdout == "two\n"
    assert "container: deployd-iris-1" in command("describe", "iris").stdout
    assert json.loads(command("describe", "iris", "--json").stdout)["running"] == {"container": "deployd-iris-1"}
    ran = command("exec", "iris", "--", "echo", "-n")
    assert (ran.exit_code, ran.stdout) == (7, "echo-n")
    assert command("exec", "iris", "--", "true").exit_code == 0


def test_pause_resume_scale_reload_backup_remove(daemon: Neighbour, command: Command, tmp_path: Path) -> None:
    daemon.do(daemon.desk.deployed(A))
    assert command("pause", "iris").exit_code == 0
    assert "paused" in command("status").stdout
    assert command("resume", "iris").exit_code == 0
    assert command("scale", "iris", "2").exit_code == 1
    daemon.desk.target.replicas = 1
    assert command("scale", "iris", "2").exit_code == 0
    copy = tmp_path / "copy.db"
    assert command("backup", str(copy)).exit_code == 0
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("SELECT status FROM deploys").fetchall() == [("live",)]
    daemon.desk.next_config = config_of(settings("rose"))
    assert command("reload").stdout == "reloaded: rose\n"
    daemon.desk.needs_restart = ["git.timeout", "registry"]
    assert command("reload").stdout == "reloaded: rose\nthese changes need a restart: git.timeout, registry\n"
    assert "not configured" in command("status").stdout
    assert command("remove", "iris").exit_code == 0
    assert "iris" not in command("status").stdout
    assert daemon.do(daemon.desk.store.deploy("iris", 1)).status is Status.RETIRED  # type: ignore[union-attr]


def test_control_characters_of_a_commit_do_not_reach_the_terminal(daemon: Neighbour, command: Command) -> None:
    deploy = daemon.do(daemon.desk.deployed(A))
    daemon.do(daemon.desk.store.record_subject(deploy, "\x1b[31mred\x07", "Ada"))
    assert "\\u001b[31mred" in command("history", "iris").stdout
