"""When errors have certainly become more frequent, and how often that is said without a cause."""

import random

import pytest

from deployd.judge.change import Change, usual_rate
from deployd.judge.traffic import Traffic

LEAST = 0.005


def _requests_until_certain(rate: float, chance: random.Random, most: int = 6000) -> int | None:
    change = Change(LEAST)
    for count in range(1, most + 1):
        change.add(1, int(chance.random() < rate))
        if change.certain:
            return count
    return None


@pytest.mark.slow
def test_a_release_that_errs_as_usual_is_hardly_ever_returned() -> None:
    chance = random.Random(1)
    alarms = [_requests_until_certain(LEAST, chance) for _ in range(150)]
    assert sum(found is not None for found in alarms) <= 1


@pytest.mark.parametrize(("rate", "at_most"), [(1.0, 7), (0.3, 30), (0.1, 110)])
def test_a_release_that_errs_is_found_within_few_requests(rate: float, at_most: int) -> None:
    chance = random.Random(2)
    found = sorted(_requests_until_certain(rate, chance) or 6000 for _ in range(101))
    assert found[50] <= at_most


def test_errors_in_one_reading_count_at_most_as_much_as_one_by_one() -> None:
    alone, together = Change(LEAST), Change(LEAST)
    for bad in (0, 1, 1, 0, 1):
        alone.add(1, bad)
    together.add(5, 3)
    assert 0 < together.value <= alone.value


def test_good_answers_clear_what_errors_said() -> None:
    change = Change(LEAST)
    change.add(3, 3)
    before = change.value
    change.add(1000, 0)
    assert change.value == 0.0 < before
    assert not change.certain


@pytest.mark.parametrize(
    ("requests", "bad", "usual"),
    [
        (0, 0, LEAST),  # nothing is known
        (100_000, 0, LEAST),
        (20, 0, 0.1),  # too little is known
        (1000, 10, 2 * 0.01831),
        (100, 90, 0.25),  # also a release before that was as bad leaves room for a worse one
    ],
)
def test_the_usual_rate_is_twice_what_the_release_before_may_have_had(requests: int, bad: int, usual: float) -> None:
    assert usual_rate(Traffic(requests, bad), LEAST) == pytest.approx(usual, rel=1e-3)


def test_an_app_whose_release_before_erred_often_can_still_be_returned() -> None:
    change = Change(usual_rate(Traffic(100, 90), LEAST))
    change.add(30, 30)
    assert change.certain
