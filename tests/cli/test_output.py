"""The words that several commands share."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import Result

from deployd.cli.output import console
from deployd.cli.times import age, took


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (9.4, "9s"),
        (119, "119s"),
        (120, "2m"),
        (200, "3m20s"),
        (3600, "60m"),
        (3 * 3600 + 300, "3h5m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (12 * 86400, "12d"),
        (-1, "0s"),
    ],
)
def test_an_age_is_told_as_kubectl_does(seconds: float, words: str) -> None:
    assert age(datetime.now(UTC) - timedelta(seconds=seconds)) == words


def test_an_age_that_is_not_known_is_a_dash() -> None:
    assert age(None) == "-"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.314, "0.31s"), (42, "42s"), (300, "5m"), (7200, "2h"), (172800, "2d")]
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, words: str) -> None:
    assert took(seconds) == words


class _NobodyReads(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_goes_away_is_no_other_error_for_a_table_than_for_json(monkeypatch: pytest.MonkeyPatch) -> None:
    console.cache_clear()
    monkeypatch.setattr("sys.stdout", _NobodyReads())
    with pytest.raises(BrokenPipeError):
        console(stderr=False).print("iris")
    console.cache_clear()


@pytest.mark.parametrize(
    "words", [("pause", "iris/3"), ("status", "iris/3"), ("scale", "iris/3", "2"), ("applog", "iris/3")]
)
def test_a_deploy_where_only_an_app_can_be_meant_is_told(
    command: Callable[..., Result], words: tuple[str, ...]
) -> None:
    refused = command(*words)
    assert (refused.exit_code, "iris/3 names a deploy" in refused.stderr) == (2, True), refused.stderr
