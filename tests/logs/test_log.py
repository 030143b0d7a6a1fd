import logging

import pytest

from deployd.logs.log import DaemonLog, LineFormatter, TerminalFormatter, fields, printable
from deployd.logs.output import _formatter


def _line(message: str) -> str:
    record = logging.LogRecord("deployd.lane", logging.INFO, "", 0, message, (), None)
    return LineFormatter().format(record).partition(" ")[2]


def test_a_line_carries_the_fields_of_its_task() -> None:
    with fields(app="iris"), fields(deploy=42):
        assert _line("Deploy is live") == "INFO    Deploy is live  app=iris deploy=42"
    assert _line("Deploy is live") == "INFO    Deploy is live"


def _at_a_terminal(level: int, *, colours: bool) -> str:
    record = logging.LogRecord("deployd.lane", level, "", 0, "Deploy is live", (), None)
    with fields(app="iris"):
        return TerminalFormatter(colours=colours).format(record).partition(" ")[2]


def test_a_line_has_the_date_and_the_zone_for_who_reads_it_later() -> None:
    record = logging.LogRecord("deployd.lane", logging.INFO, "", 0, "x", (), None)
    record.created = 1795780801.5
    assert LineFormatter().format(record) == "2026-11-27T12:00:01Z INFO    x"


def test_at_a_terminal_what_is_usual_is_plain_and_what_is_not_has_its_level_and_a_colour() -> None:
    assert _at_a_terminal(logging.INFO, colours=True) == "Deploy is live\x1b[2m  app=iris\x1b[0m"
    assert _at_a_terminal(logging.WARNING, colours=True).startswith("\x1b[33mwarning: Deploy is live\x1b[0m")
    assert _at_a_terminal(logging.ERROR, colours=True).startswith("\x1b[1;31merror: Deploy is live\x1b[0m")
    assert _at_a_terminal(logging.DEBUG, colours=True).startswith("\x1b[2mdebug: Deploy is live\x1b[0m")


def test_without_colours_the_level_says_it() -> None:
    assert _at_a_terminal(logging.ERROR, colours=False) == "error: Deploy is live  app=iris"


@pytest.mark.parametrize(
    ("terminal", "environment", "begin"),
    [
        (True, {"TERM": "xterm"}, "\x1b[2m"),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, ""),
        (True, {"TERM": "dumb"}, ""),
        (False, {"TERM": "xterm"}, ""),
    ],
)
def test_there_are_colours_only_on_a_terminal_that_wants_them(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], begin: str
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    record = logging.LogRecord("deployd.lane", logging.INFO, "", 0, "x", (), None)
    said = _formatter().format(record)
    assert said.startswith("\x1b") is bool(begin)
    assert ("INFO" in said) is not terminal


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[31mb", "a\u202eb", "a\rb", "a\u2028b", "a\x00b", "a\x9bb"])
def test_text_from_outside_stays_on_one_line_and_in_order(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown.startswith("a\\u")
    assert text not in _line(text)


def test_long_text_is_cut() -> None:
    assert len(printable("x" * 10_000)) == 500


def test_work_without_a_deploy_writes_to_the_log_of_the_daemon(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        DaemonLog().write("one\ntwo\n")
    assert [record.getMessage() for record in caplog.records] == ["one", "two"]
