"""Every command against a running daemon."""

import asyncio
import json
import os
import pwd
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import Result

from deployd.status import Status
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


@pytest.mark.slow
def test_deploy_wait_says_that_the_release_is_watched_and_what_stands_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    watched = Neighbour(tmp_path / "state")
    watched._settings["app"][0]["watch"] = {"for": "1h"}
    with watched as daemon:
        monkeypatch.setenv("DEPLOYD_URL", daemon.url)
        daemon.do(daemon.desk.deployed(A))
        daemon.desk.source.remotes[REPO][MAIN] = B
        result = command("deploy", "iris", "--wait")
        assert (result.exit_code, json.loads(command("history", "iris", "--json").stdout)["deploys"][0]["standby"]) == (
            0,
            1,
        )
    assert "it is watched, and iris/1 stands by: deployd status iris" in result.stderr


@pytest.mark.slow
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


@pytest.mark.slow
def test_history_shows_a_deploy_that_was_cancelled(daemon: Neighbour, command: Command) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    daemon.do(daemon.desk.scheduler.pause("iris", paused=True))
    command("deploy", "iris")
    assert command("cancel", "iris").stdout == "iris/1 is being cancelled\n"
    assert command("cancel", "iris").stderr.startswith("error: no deploy of iris waits or is in flight\nhint: ")
    assert command("cancel", "iris/1").stderr.startswith("error: iris/1 was cancelled already")
    history = command("history", "iris").stdout
    assert "cancelled" in history
    assert "cancelled by hand" in history


@pytest.mark.slow
def test_prove_wait_shows_the_steps_and_ends_proven(daemon: Neighbour, command: Command) -> None:
    daemon.do(daemon.desk.deployed(A))
    daemon.desk.source.remotes[REPO]["refs/heads/next"] = B
    result = command("prove", "iris", "next", "--wait")
    assert result.exit_code == 0, result.output
    for words in ("iris/2 bbbbbbbbbbbb", "✓ build", "✓ candidate", "iris/2 is proven after", "it was not switched to"):
        assert words in result.stderr
    assert json.loads(command("status", "iris", "--json").stdout)["live"]["number"] == 1
    row = command("history", "iris").stdout.splitlines()[1]
    assert row.split()[:2] == ["iris/2", "proven"]
    assert "prove: " in row
    assert "only proven before: iris/2 is proven" in command("plan", "iris", "next").stdout


def test_prove_wait_of_what_is_broken_exits_1_and_says_why(daemon: Neighbour, command: Command) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    daemon.desk.builder.broken.add(A)
    result = command("prove", "iris", "--wait")
    assert result.exit_code == 1
    assert "iris/1 failed: the command returned 1" in result.stderr


def test_report_prints_the_record_as_markdown(daemon: Neighbour, command: Command) -> None:
    daemon.do(daemon.desk.deployed(A))
    result = command("report", "iris")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("# iris/1: live\n\nIt is live.\n\n|")
    assert f"| Commit | `{A}` |" in result.stdout
    assert command("report", "iris/9").stderr.startswith("error: there is no deploy iris/9\nhint: ")


def test_history_fits_a_terminal_of_80_columns_with_the_models_version(daemon: Neighbour, command: Command) -> None:
    deploy = daemon.do(daemon.desk.deployed(A))
    daemon.do(daemon.desk.store.record_model(deploy, {"version": "3f2a0c11d5e8", "name": "iris"}))
    lines = command("history", "iris").stdout.splitlines()
    assert lines[0].split() == ["DEPLOY", "STATUS", "COMMIT", "MODEL", "SUBJECT", "BY", "AGE", "TOOK", "REASON"]
    assert lines[1].split()[:4] == ["iris/1", "live", A[:8], "3f2a0c11d5e8"]


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
    assert lines[0].split() == ["APP", "STATE", "LIVE", "COMMIT", "AGE", "IN", "FLIGHT", "URL"]
    assert lines[1].split()[:4] == ["iris", "live", "#1", A[:12]]
    assert "nothing live" in lines[2]
    assert [app["name"] for app in json.loads(command("status", "--json").stdout)["apps"]] == ["iris", "rose"]
    assert json.loads(command("status", "iris", "--json").stdout)["live"]["commit"] == A


@pytest.mark.slow
def test_history_diff_and_plan(daemon: Neighbour, command: Command) -> None:
    daemon.do(daemon.desk.deployed(A))
    daemon.do(daemon.desk.deployed(B))
    assert [line.split()[0] for line in command("history", "iris", "-n", "1").stdout.splitlines()] == [
        "DEPLOY",
        "iris/2",
    ]
    assert [one["number"] for one in json.loads(command("history", "iris", "--json").stdout)["deploys"]] == [2, 1]
    told = command("diff", "iris", "1", "2").stdout
    assert ["commit", A, B] in [line.split() for line in told.splitlines()]
    spellings: list[tuple[str, ...]] = [("iris/1", "iris/2"), ("iris/1", "2"), ("iris/2",)]
    for names in spellings:
        assert command("diff", *names).stdout == told, names
    wrong: list[tuple[str, ...]] = [("iris/1",), ("iris",), ("iris", "rose/1"), ("iris", "1", "2", "3")]
    for names in wrong:
        assert command("diff", *names).exit_code in {1, 2}, names
    assert json.loads(command("diff", "iris", "1", "2", "--json").stdout)["differences"][0]["what"] == "commit"
    assert "deployed before: iris/2" in command("plan", "iris", "main").stdout
    assert command("plan", "iris").stdout == command("plan", "iris", "main").stdout == command("plan", "iris/2").stdout
    assert json.loads(command("plan", "iris", "main", "--json").stdout)["commit"] == B


@pytest.mark.slow
def test_rollback_goes_back_to_the_release_before(daemon: Neighbour, command: Command) -> None:
    daemon.do(daemon.desk.deployed(A))
    daemon.do(daemon.desk.deployed(B))
    assert command("rollback", "iris", "--wait").exit_code == 0
    assert "back to #1" in command("history", "iris").stdout
    assert command("rollback", "iris/2", "--wait").exit_code == 0
    assert "back to #2" in command("history", "iris").stdout
    assert command("rollback", "iris/2", "--to", "1").exit_code == 2
    refused = command("rollback", "iris", "--to", "99")
    assert (refused.exit_code, refused.stderr) == (
        1,
        "error: iris/99 was never live\nhint: deployd history iris shows the deploys\n",
    )


@pytest.mark.slow
def test_an_app_with_an_older_config_is_told_until_it_is_restarted(daemon: Neighbour, command: Command) -> None:
    daemon.do(daemon.desk.deployed(A))
    changed = settings("iris")
    changed["app"][0]["docker"] = {"env": {"MODE": "fast"}}
    daemon.desk.next_config = config_of(changed)
    older = "iris runs with an older config: `deployd restart iris` rolls out the "
    assert command("reload").stdout == f"reloaded: iris\n{older}new one\n"
    assert f"{older}current one" in command("status").stdout
    assert command("restart", "iris", "--wait").exit_code == 0
    assert "older config" not in command("status").stdout
    assert "restart" not in command("reload").stdout


@pytest.mark.slow
def test_logs_of_a_deploy_and_of_the_newest(daemon: Neighbour, command: Command) -> None:
    daemon.do(daemon.desk.deployed(A))
    assert "==> fetch\n" in command("logs", "iris/1").stdout
    followed = command("logs", "iris", "-f")
    assert "iris/1 is live\n" in followed.stdout
    assert "iris/1 is live" in followed.stderr
    assert command("logs", "rose").stderr.startswith("error: rose has no deploys\nhint: deployd deploy rose")
    assert command("logs", "iris/x").exit_code == 2


@pytest.mark.slow
def test_applog_describe_and_exec(daemon: Neighbour, command: Command) -> None:
    daemon.do(daemon.desk.deployed(A))
    assert command("applog", "iris", "--tail", "1").stdout == "two\n"
    assert command("applog", "iris", "--since", "10m", "--json").stdout.splitlines() == [
        '{"name": "iris", "line": "one"}',
        '{"name": "iris", "line": "two"}',
    ]
    assert command("applog", "iris", "--since", "2026-01-01T00:00:00Z").stdout == "one\ntwo\n"
    assert command("applog", "iris", "--since", "soon").exit_code == 2
    assert json.loads(command("logs", "iris/1", "--json").stdout.splitlines()[0]) == {
        "name": "iris/1",
        "line": "==> fetch",
    }
    assert "container: deployd-iris-1" in command("describe", "iris").stdout
    described = command("describe", "iris/1").stdout.splitlines()
    assert ["Deploy:", "iris/1"] in [line.split() for line in described]
    assert any(line.split()[:2] == ["build", "done"] for line in described)
    assert json.loads(command("describe", "iris/1", "--json").stdout)["number"] == 1
    assert json.loads(command("describe", "iris", "--json").stdout)["running"] == {"container": "deployd-iris-1"}
    ran = command("exec", "iris", "--", "echo", "-n")
    assert (ran.exit_code, ran.stdout) == (7, "echo-n")
    assert command("exec", "iris", "--", "true").exit_code == 0


@pytest.mark.slow
def test_pause_resume_scale_reload_backup_remove(daemon: Neighbour, command: Command, tmp_path: Path) -> None:
    daemon.do(daemon.desk.deployed(A))
    assert command("pause", "iris").exit_code == 0
    assert "paused" in command("status").stdout
    assert command("resume", "iris").exit_code == 0
    assert command("scale", "iris", "2").exit_code == 1
    daemon.desk.target.replicas = 1
    assert command("scale", "iris", "2").exit_code == 0
    me = pwd.getpwuid(os.getuid()).pw_name
    scaled, resumed, paused = command("describe", "iris").stdout.partition("By hand:")[2].splitlines()[:3]
    assert scaled.strip().startswith(f"{me} scaled it to 2 pods, ")
    assert resumed.strip().startswith(f"{me} resumed it, ")
    assert paused.strip().startswith(f"{me} paused it, ")
    copy = tmp_path / "copy.db"
    assert command("backup", str(copy)).exit_code == 0
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("SELECT status FROM deploys").fetchall() == [("live",)]
    daemon.desk.next_config = config_of(settings("rose"))
    assert command("reload").stdout == "reloaded: rose\n"
    daemon.desk.needs_restart = ["git.timeout", "registry"]
    assert (
        command("reload").stdout == "reloaded: rose\nthese changes need a restart of deployd: git.timeout, registry\n"
    )
    assert "not configured" in command("status").stdout
    assert command("remove", "iris").exit_code == 0
    assert "iris" not in command("status").stdout
    assert daemon.do(daemon.desk.store.deploy("iris", 1)).status is Status.RETIRED  # type: ignore[union-attr]


def test_control_characters_of_a_commit_do_not_reach_the_terminal(daemon: Neighbour, command: Command) -> None:
    deploy = daemon.do(daemon.desk.deployed(A))
    daemon.do(daemon.desk.store.record_subject(deploy, "\x1b[31mred\x07", "Ada"))
    assert "\\u001b[31mred" in command("history", "iris").stdout


@pytest.mark.slow
def test_deploy_wait_on_a_paused_app_says_why_it_waits_and_what_ends_that(daemon: Neighbour, command: Command) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    command("pause", "iris")
    why = "iris is paused: iris/1 waits until `deployd resume iris`"
    assert why in command("deploy", "iris").stdout
    waiting = [sys.executable, "-m", "deployd", "deploy", "iris", "--wait"]
    with subprocess.Popen(waiting, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert why.replace("iris/1", "iris/2") + "\n" in iter(process.stderr.readline, "")
        assert command("resume", "iris").exit_code == 0
        process.stderr.read()
    assert process.returncode == 0


def test_a_failed_deploy_prints_the_end_of_its_log_once(daemon: Neighbour, command: Command) -> None:
    daemon.desk.source.remotes[REPO][MAIN] = A
    daemon.desk.builder.broken.add(A)
    assert command("deploy", "iris", "--wait").stderr.count("no such package: torhc") == 1


@pytest.mark.slow
def test_the_output_of_the_next_release_is_followed(daemon: Neighbour) -> None:
    daemon.do(daemon.desk.deployed(A))
    following = [sys.executable, "-m", "deployd", "applog", "iris", "-f"]
    with subprocess.Popen(following, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert [process.stdout.readline() for _ in range(2)] == ["one\n", "two\n"]
        daemon.desk.target.printed = [b"hello from B\n"]
        daemon.do(daemon.desk.deployed(B))
        assert process.stderr.readline() == "iris/2 is live now; its output follows\n"
        assert process.stdout.readline() == "hello from B\n"
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130


def test_the_output_of_an_app_that_does_not_run_is_an_error(daemon: Neighbour, command: Command) -> None:
    assert command("applog", "rose", "-f").stderr.startswith("error: nothing of rose runs")


def test_the_versions_of_the_command_and_of_the_daemon_are_told(daemon: Neighbour, command: Command) -> None:
    ours = command("--version").stdout.strip()
    assert [line.split() for line in command("version").stdout.splitlines()] == [["command", ours], ["daemon", ours]]
    assert json.loads(command("version", "--json").stdout) == {"command": ours, "daemon": ours}


def test_a_name_that_git_would_read_as_an_option_is_refused_in_plain_words(daemon: Neighbour, command: Command) -> None:
    for arguments in (["deploy", "iris", "--", "-x"], ["plan", "iris", "--", "-x"], ["deploy", "iris", "a b"]):
        refused = command(*arguments).stderr.splitlines()[0]
        assert refused.endswith("commit: expected a SHA, branch or tag: no space in it, and no hyphen in front"), (
            refused
        )
