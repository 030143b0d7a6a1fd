"""How failures are print_error, and the exit codes that they mean."""

import pytest

from deployd.errors import BuildFailed, ConfigError, Unavailable
from deployd.exits import expected_in, print_error


def test_a_failure_and_its_hint_are_printed_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_error(BuildFailed("it does not build", hint="see the log")) == 1
    assert capsys.readouterr() == ("", "error: it does not build\nhint: see the log\n")
    assert print_error(ConfigError("server.port: no")) == 78
    assert capsys.readouterr().err == "error: server.port: no\n"


def test_a_group_of_expected_failures_is_an_expected_failure() -> None:
    failure = Unavailable("away")
    assert expected_in(BaseExceptionGroup("g", [BaseExceptionGroup("h", [failure]), ConfigError("x")])) is failure


def test_a_group_with_a_bug_in_it_is_not_expected() -> None:
    assert expected_in(BaseExceptionGroup("g", [Unavailable("away"), ZeroDivisionError()])) is None
    assert expected_in(BaseExceptionGroup("g", [ZeroDivisionError()])) is None
