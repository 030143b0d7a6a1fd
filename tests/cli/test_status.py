"""What `deployd status` says of an app, once and with `--watch`; and `deployd open`."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console
from typer.testing import Result

from deployd.api.answers import DeployAnswer, TriggerAnswer
from deployd.api.states import (
    AppAnswer,
    FailedAnswer,
    HealthAnswer,
    HeldAnswer,
    LiveAnswer,
    OwedAnswer,
    WaitingAnswer,
    WatchedAnswer,
)
from deployd.cli.browser import opened
from deployd.cli.output import console
from deployd.cli.status import _held, _owed, _state, _unwell, _watched, listing, remarks
from deployd.cli.status_watch import _Lines, _news, _Screen
from deployd.domain import HealthState
from deployd.status import Status
from tests.cli.conftest import Neighbour
from tests.desk import A

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def test_a_watched_release_says_until_when_and_what_stands_by() -> None:
    watched = WatchedAnswer(until=datetime(2026, 11, 26, 12, 0, 30, tzinfo=UTC), standby=8)
    assert _watched("iris", 9, watched) == (
        "iris/9 is watched until 12:00:30 UTC; iris/8 stands by: `deployd rollback iris` returns to it at once"
    )


def test_a_release_that_failed_its_watch_is_not_called_failed() -> None:
    failed = FailedAnswer(number=9, commit="b" * 40, reason="its container was removed", reverted=True)
    app = AppAnswer(name="iris", live=LiveAnswer(number=8, commit="a" * 40), failed=failed)
    assert [text for text, _ in remarks(app)] == ["iris/9 was reverted: its container was removed"]


def test_an_app_that_is_held_says_where_why_and_what_ends_it() -> None:
    held = HeldAnswer(commit="b" * 40, reason="rolled back by hand")
    app = AppAnswer(name="iris", live=LiveAnswer(number=9, commit="a" * 40), held=held)
    assert _held(app, held) == (
        "iris is held at #9: rolled back by hand. The next push, or `deployd deploy iris`, ends it."
    )


def test_an_app_that_owes_a_look_says_for_how_long_and_why() -> None:
    owed = OwedAnswer(since=datetime.now(UTC) - timedelta(minutes=5), reason="the remote is away\x1b[31m")
    said = _owed(AppAnswer(name="iris", owed=owed), owed)
    assert said == "iris: no look at its remote for 5m: the remote is away\\u001b[31m"
    owed = OwedAnswer(since=owed.since, reason="it does not answer", what="registry")
    assert (
        _owed(AppAnswer(name="iris"), owed) == "iris: no look at the registry of its model for 5m: it does not answer"
    )


def test_an_app_whose_head_waits_for_its_checks_says_for_how_long_and_for_what() -> None:
    since = datetime.now(UTC) - timedelta(minutes=5)
    waiting = WaitingAnswer(commit="a" * 40, since=since, reason="test is not finished\x1b[31m")
    ((said, colour),) = remarks(AppAnswer(name="iris", waiting=waiting))
    assert said == "iris: aaaaaaaaaaaa has waited for its checks for 5m: test is not finished\\u001b[31m"
    assert colour == "yellow"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("down", "iris does not serve as it should (seen 5m ago): its container was removed"),
        ("unready", "iris runs but is not ready (seen 5m ago): its container was removed"),
        ("unknown", "iris cannot be checked (seen 5m ago): its container was removed"),
    ],
)
def test_an_app_that_is_not_well_says_how_it_is_since_when_and_why(state: HealthState, words: str) -> None:
    since = datetime.now(UTC) - timedelta(minutes=5)
    health = HealthAnswer(state=state, detail="its container was removed", since=since)
    app = AppAnswer(name="iris", live=LiveAnswer(number=9, commit="a" * 40), health=health)
    assert _unwell(app, health) == words
    assert _state(app).plain == state


def test_an_app_that_never_got_live_and_whose_newest_deploy_failed_is_not_just_without_a_release() -> None:
    failed = FailedAnswer(number=1, commit="a" * 40, reason="exit code 1")
    assert _state(AppAnswer(name="iris", failed=failed)).plain == "failed"


def test_a_wide_listing_says_what_was_proven_where_it_runs_and_what_it_follows() -> None:
    live = LiveAnswer(number=9, commit="a" * 40, image="deployd/iris:9", model={"version": "3f2a"})
    app = AppAnswer(
        name="iris",
        target="docker",
        branch="main",
        live=live,
        health=HealthAnswer(state="ok"),
        urls=["http://127.0.0.1:8000"],
    )
    found = listing([app], wide=True)
    cells = {name: str(cell) for name, cell in zip(found.columns, found.rows[0], strict=True)}
    assert cells == {
        "APP": "iris",
        "STATE": "live",
        "LIVE": "#9",
        "COMMIT": "a" * 12,
        "AGE": "-",
        "IN FLIGHT": "-",
        "HEALTH": "ok",
        "MODEL": "3f2a",
        "TARGET": "docker",
        "FOLLOWS": "main",
        "IMAGE": "deployd/iris:9",
        "URL": "http://127.0.0.1:8000",
    }


def test_a_row_is_news_when_anything_but_an_age_changes() -> None:
    def news(**changed: Any) -> object:
        app = AppAnswer(name="iris", **{"live": LiveAnswer(number=9, commit="a" * 40, since=NOW), **changed})
        return _news(app, listing([app], wide=False), 0)

    older = LiveAnswer(number=9, commit="a" * 40, since=NOW - timedelta(hours=1))
    assert news(live=older) == news()
    for changed in (
        {"paused": True},
        {"older_config": True},
        {"held": HeldAnswer(commit="b" * 40, reason="rolled back by hand")},
        {"owed": OwedAnswer(since=NOW, reason="the remote is away")},
        {"waiting": WaitingAnswer(commit="b" * 40, since=NOW, reason="test is not finished")},
        {"health": HealthAnswer(state="down")},
        {"live": LiveAnswer(number=10, commit="a" * 40, since=NOW)},
    ):
        assert news(**changed) != news(), changed


def test_the_lines_of_a_watch_behind_a_pipe_stay_in_their_columns(capsys: pytest.CaptureFixture[str]) -> None:
    url = "http://127.0.0.1:8000"
    trigger = TriggerAnswer(kind="push")
    moving = DeployAnswer(
        app="iris",
        number=43,
        commit="b" * 40,
        ref="",
        subject="",
        author="",
        trigger=trigger,
        status=Status.ROLLING_OUT,
        created_at=NOW,
    )
    console.cache_clear()
    lines = _Lines(lambda apps: listing(apps, wide=False), lambda _: iter(()))
    lines.show([AppAnswer(name="iris", urls=[url])])
    lines.show([AppAnswer(name="iris", urls=[url], in_flight=moving)])
    lines.show([AppAnswer(name="iris", urls=[url], live=LiveAnswer(number=43, commit="b" * 40))])
    console.cache_clear()
    head, *rows = capsys.readouterr().out.splitlines()
    assert {row.index(url) for row in rows} == {head.index("URL")}
    assert len(rows) == 3


def test_on_a_low_terminal_a_watch_shows_first_where_something_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=120, height=12, color_system=None)
    monkeypatch.setattr("deployd.cli.status_watch.out", lambda: screen)
    monkeypatch.setattr("deployd.cli.tables.out", lambda: screen)
    calm = [AppAnswer(name=f"app-{at}", live=LiveAnswer(number=1, commit="a" * 40)) for at in range(50)]
    held = HeldAnswer(commit="b" * 40, reason="rolled back by hand")
    view = _Screen(lambda apps: listing(apps, wide=False), remarks)
    view.show([*calm, AppAnswer(name="iris", live=LiveAnswer(number=2, commit="a" * 40), held=held)])
    screen.print(view)
    lines = cast("io.StringIO", screen.file).getvalue().splitlines()
    assert lines[0].startswith("APP")
    assert lines[1].startswith("iris")
    assert lines[-2:] == ["… and 43 more", _held_remark(held)]
    assert len(lines) == 11


def _held_remark(held: HeldAnswer) -> str:
    return f"iris is held at #2: {held.reason}. The next push, or `deployd deploy iris`, ends it."


def _until(process: "subprocess.Popen[str]", words: str) -> str:
    assert process.stdout is not None
    return next(line for line in process.stdout if words in line)


@contextmanager
def _watching(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "deployd", "status", "--watch", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        assert process.stderr.read() == ""


@pytest.mark.slow
def test_a_watch_behind_a_pipe_prints_a_row_for_each_change(daemon: Neighbour) -> None:
    with _watching() as process:
        assert _until(process, "APP").split()[:3] == ["APP", "STATE", "LIVE"]
        _until(process, "rose")
        daemon.do(daemon.desk.deployed(A))
        assert _until(process, "#1").split()[:4] == ["iris", "live", "#1", A[:12]]


@pytest.mark.slow
def test_a_watch_as_json_prints_an_object_on_a_line_for_each_change(daemon: Neighbour) -> None:
    with _watching("iris", "--json") as process:
        assert json.loads(_until(process, "iris"))["live"] is None
        daemon.do(daemon.desk.deployed(A))
        assert json.loads(_until(process, '"number":1,"commit"'))["name"] == "iris"


@pytest.mark.slow
def test_without_a_daemon_a_watch_ends_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deployd", "status", "--watch"]
    environment = {**os.environ, "DEPLOYD_URL": f"unix://{tmp_path}/none"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (69, "")


def test_the_address_of_an_app_is_printed_where_there_is_no_browser(
    daemon: Neighbour, command: Callable[..., Result]
) -> None:
    assert command("open", "iris").stdout == "http://127.0.0.1:8000\n"
    assert command("open", "iris", "--no-browser").stdout == "http://127.0.0.1:8000\n"


def test_an_app_without_an_address_cannot_be_opened(
    monkeypatch: pytest.MonkeyPatch, command: Callable[..., Result]
) -> None:
    monkeypatch.setattr("deployd.cli.apps.with_daemon", lambda _work: AppAnswer(name="iris"))
    refused = command("open", "iris")
    assert (refused.exit_code, refused.stderr) == (
        1,
        "error: iris has no address of its own\nhint: listen or hosts in its [app.gateway] give it one\n",
    )


@pytest.mark.parametrize(("desktop", "asked"), [({}, []), ({"DISPLAY": ":0"}, ["http://iris"])])
def test_a_browser_is_asked_only_on_a_desktop(
    monkeypatch: pytest.MonkeyPatch, desktop: dict[str, str], asked: list[str]
) -> None:
    seen: list[str] = []
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in desktop.items():
        monkeypatch.setenv(name, value)

    def record(url: str) -> bool:
        seen.append(url)
        return True

    monkeypatch.setattr("webbrowser.open", record)
    assert (opened("http://iris"), seen) == (bool(asked), asked)
