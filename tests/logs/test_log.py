import logging

import pytest

from deployd.logs.log import DaemonLog, LineFormatter, fields, printable


def _line(message: str) -> str:
    record = logging.LogRecord("deployd.lane", logging.INFO, "", 0, message, (), None)
    return LineFormatter().format(record).partition(" ")[2]


def test_a_line_carries_the_fields_of_its_task() -> None:
    with fields(app="iris"), fields(deploy=42):
        assert _line("Deploy is live") == "INFO    Deploy is live  app=iris deploy=42"
    assert _line("Deploy is live") == "INFO    Deploy is live"


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
