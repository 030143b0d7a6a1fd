import sys

import pytest

from deployd.bringup.progress import Progress
from deployd.errors import Unavailable
from tests.testbed import __main__ as command


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two parts that only write down that they were brought up; the first cannot be had."""
    brought_up: list[str] = []

    def missing(_: Progress) -> str:
        raise Unavailable("no engine answers", hint="install one")

    def there(_: Progress) -> str:
        brought_up.append("images")
        return "ready"

    monkeypatch.setattr(command, "PARTS", {"engine": missing, "images": there})
    return brought_up


def test_a_missing_part_is_reported_and_the_rest_brought_up(
    parts: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["testbed"])
    command.main()
    assert parts == ["images"]
    assert capsys.readouterr().err == "engine: not here: no engine answers (install one)\nimages: ready\n"


def test_one_part_can_be_asked_for(parts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["testbed", "engine"])
    command.main()
    assert parts == []


def test_a_part_that_there_is_not_is_a_usage_error(parts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["testbed", "mainframe"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
