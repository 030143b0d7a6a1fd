import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployd.logs import journal
from deployd.logs.log import fields


@pytest.fixture
def there(tmp_path: Path) -> Iterator[socket.socket]:
    """The journal's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "journal"))
        receiver.settimeout(5)
        yield receiver


def parsed(datagram: bytes) -> dict[str, str]:
    """An entry as journald reads it."""
    found: dict[str, str] = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + size], rest[8 + size + 1 :]
        found[name.decode()], datagram = value.decode(), rest
    return found


def logged(tmp_path: Path, there: socket.socket, level: int, message: str, *, error: bool = False) -> dict[str, str]:
    handler = journal.JournalHandler(str(tmp_path / "journal"))
    record = logging.LogRecord("deployd.lane", level, "", 0, message, (), None)
    if error:
        bug = ValueError("two\nlines")
        record.exc_info = (type(bug), bug, None)
    handler.emit(record)
    handler.close()
    return parsed(there.recv(100_000))


def test_an_entry_has_app_deploy_and_commit_as_fields(tmp_path: Path, there: socket.socket) -> None:
    with fields(app="iris"), fields(deploy=42, commit="abc"):
        assert logged(tmp_path, there, logging.INFO, "is live") == {
            "MESSAGE": "is live  app=iris deploy=42 commit=abc",
            "PRIORITY": "6",
            "SYSLOG_IDENTIFIER": "deployd",
            "LOGGER": "deployd.lane",
            "DEPLOYD_APP": "iris",
            "DEPLOYD_DEPLOY": "42",
            "DEPLOYD_COMMIT": "abc",
        }


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, "7"), (logging.INFO, "6"), (logging.WARNING, "4"), (logging.ERROR, "3"), (logging.CRITICAL, "2")],
)
def test_each_level_has_its_priority(tmp_path: Path, there: socket.socket, level: int, priority: str) -> None:
    assert logged(tmp_path, there, level, "x")["PRIORITY"] == priority


def test_text_from_outside_makes_no_field_and_no_second_line(tmp_path: Path, there: socket.socket) -> None:
    with fields(app="iris\nPRIORITY=0"):
        told = logged(tmp_path, there, logging.INFO, "x\nPRIORITY=0")
    assert (told["PRIORITY"], told["DEPLOYD_APP"]) == ("6", "iris\nPRIORITY=0")
    assert "\n" not in told["MESSAGE"]


def test_a_traceback_is_one_entry(tmp_path: Path, there: socket.socket) -> None:
    told = logged(tmp_path, there, logging.ERROR, "a bug", error=True)["MESSAGE"]
    assert told.startswith("a bug\n")
    assert told.endswith("ValueError: two\nlines")


def test_a_record_that_the_journal_refuses_goes_to_standard_error_with_its_priority(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = journal.JournalHandler(str(tmp_path / "nobody"))
    handler.emit(logging.LogRecord("deployd", logging.ERROR, "", 0, "x", (), None))
    handler.close()
    assert capsys.readouterr().err == "<3>x\n"
