"""Intervals of shares and the test of signs, against figures that are known."""

import pytest

from deployd.judge.shares import at_least_so_many, wilson


@pytest.mark.parametrize(
    ("events", "count", "low", "high"),
    [(0, 20, 0.0, 0.161), (0, 100, 0.0, 0.037), (5, 100, 0.0215, 0.1118), (13, 13, 0.772, 1.0)],
)
def test_the_limits_are_those_of_wilson(events: int, count: int, low: float, high: float) -> None:
    assert wilson(events, count) == pytest.approx((low, high), abs=1e-3)


def test_a_request_that_was_tried_again_may_count_twice() -> None:
    assert wilson(7, 5)[1] == 1.0


def test_equal_chances_give_the_sign_test() -> None:
    assert at_least_so_many(20, 20) == 2**-20
    assert at_least_so_many(0, 20) == 1.0
    assert at_least_so_many(15, 20) == pytest.approx(0.0207, abs=1e-4)
