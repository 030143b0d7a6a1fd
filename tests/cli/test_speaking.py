"""The words that several commands share."""

from datetime import UTC, datetime, timedelta

import pytest

from deployd.api.answers import DeployAnswer, TriggerAnswer
from deployd.cli.speaking import ago, in_words, took
from deployd.domain import Status


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status.QUEUED, "iris/42 is queued"),
        (Status.ROLLING_OUT, "iris/42 is rolling out"),
        (Status.LIVE, "iris/42 is live"),
        (Status.RETIRED, "iris/42 was retired"),
        (Status.FAILED, "iris/42 failed"),
        (Status.CANCELLED, "iris/42 was cancelled"),
        (Status.SUPERSEDED, "iris/42 was superseded"),
    ],
)
def test_a_status_becomes_a_sentence(status: Status, words: str) -> None:
    now = datetime.now(UTC)
    deploy = DeployAnswer(
        app="iris",
        number=42,
        commit="a" * 40,
        ref="refs/heads/main",
        subject="",
        author="",
        trigger=TriggerAnswer(kind="push"),
        status=status,
        created_at=now,
    )
    assert in_words(deploy) == words


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
