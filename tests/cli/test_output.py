"""The words that several commands share."""

from datetime import UTC, datetime, timedelta

import pytest

from deployd.cli.output import ago, took


@pytest.mark.parametrize(("seconds", "words"), [(9.4, "9s ago"), (42, "42s ago"), (300, "5m ago"), (-1, "0s ago")])
def test_an_age_is_told_in_whole_units(seconds: float, words: str) -> None:
    assert ago(datetime.now(UTC) - timedelta(seconds=seconds)) == words


def test_an_age_that_is_not_known_is_a_dash() -> None:
    assert ago(None) == "-"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.314, "0.31s"), (42, "42s"), (300, "5m"), (7200, "2h"), (172800, "2d")]
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, words: str) -> None:
    assert took(seconds) == words
