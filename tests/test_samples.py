"""Samples: their stretches, their sums, and the classes of their durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.samples import COARSE, FINE, Sample, merged, summed


def test_a_moment_belongs_to_the_stretch_that_has_begun_last() -> None:
    assert [FINE.stretch(at) for at in (1_000_000.0, 1_000_009.99, 1_000_010)] == [1_000_000, 1_000_000, 1_000_010]
    assert COARSE.stretch(1_000_500) == 1_000_200


@given(st.dictionaries(st.integers(0, 10**9), st.integers(1, 1000)))
def test_merging_loses_no_answer_and_shortens_it_by_at_most_a_third(durations: dict[int, int]) -> None:
    kept = merged([durations])
    assert sum(kept.values()) == sum(durations.values())
    assert merged([kept]) == kept
    for least in durations:
        (only,) = merged([{least: 1}])
        assert least == 0 or only <= least < only * 1.34 + 1 or least >= 8 * 10**8


def test_a_sum_has_the_counts_and_the_quantiles_of_all() -> None:
    parts = [Sample("iris", 1, 10, 3, 1, 1, {1000: 3}), Sample("iris", 2, 20, 1, 0, 0, {80_000: 1})]
    whole = summed(parts, 10)
    assert (whole.requests, whole.errors, whole.refused, whole.at) == (4, 1, 1, 10)
    assert (whole.quantile(0.5), whole.quantile(0.95)) == (1.0, 80.0)
    assert whole.error_rate == pytest.approx(0.25)


def test_without_requests_nothing_is_said_of_errors_and_durations() -> None:
    assert (summed([], 0).error_rate, summed([], 0).quantile(0.5)) == (None, None)


def test_a_request_that_failed_twice_makes_no_rate_above_one() -> None:
    assert Sample("iris", 1, 0, 1, 2).error_rate == 1.0
