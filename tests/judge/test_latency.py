import random
from collections import Counter

import pytest

from deployd.judge.latency import lower_bound, ppf, slower, upper_bound, with_unanswered
from deployd.judge.traffic import Histogram


def classes(microseconds: list[float]) -> Histogram:
    """As a gateway counts: by the first two digits."""
    return Counter(int(us) // (step := 10 ** max(0, len(str(int(us))) - 2)) * step for us in microseconds)


def drawn(chance: random.Random, n: int, median_ms: float) -> Histogram:
    """Durations of a service: log-normal, one in twenty twice as long as half of them."""
    return classes([chance.lognormvariate(0, 0.5) * median_ms * 1000 for _ in range(n)])


# The values of scipy.stats.binom.ppf.
@pytest.mark.parametrize(
    ("alpha", "n", "q", "expected"),
    [
        (1e-4, 14, 0.5, 1),
        (1 - 1e-4, 14, 0.5, 13),
        (1e-4, 180, 0.95, 158),
        (1 - 1e-4, 180, 0.95, 179),
        (0.5, 1000, 0.5, 500),
        (1e-4, 100_000, 0.95, 94_742),
    ],
)
def test_ranks_are_those_of_the_binomial_distribution(alpha: float, n: int, q: float, expected: int) -> None:
    assert ppf(alpha, n, q) == expected


def test_too_few_durations_have_no_bounds() -> None:
    assert lower_bound({5000: 19}, 0.5) is None
    assert upper_bound({5000: 179}, 0.95) is None
    assert upper_bound({5000: 180}, 0.95) == 5500


def test_ten_times_slower_is_seen_in_fifty_requests() -> None:
    chance = random.Random(1)
    found = [slower(drawn(chance, 50, 100), drawn(chance, 500, 10)) for _ in range(100)]
    assert all(found)
    assert found[0] is not None
    assert str(found[0]).startswith("its median is at least ")


def test_equal_releases_are_never_told_apart() -> None:
    chance = random.Random(2)
    for n in (20, 60, 250):
        assert not [1 for _ in range(50) if slower(drawn(chance, n, 20), drawn(chance, 4 * n, 20))]


def test_a_few_milliseconds_more_do_not_matter() -> None:
    assert slower({6000: 1000}, {2000: 1000}) is None
    assert slower({12000: 1000}, {2000: 1000}) is not None


def test_a_tail_that_is_slow_is_seen() -> None:
    assert (found := slower({10_000: 800, 500_000: 200}, {10_000: 1000})) is not None
    assert str(found) == "its p95 is at least 500 ms, that of the old release at most 11 ms"


def test_requests_that_wait_have_taken_as_long_as_they_have_waited_so_far() -> None:
    since = [(1_000_000, 5), (2_000_000, 11), (3_000_000, 12)]
    assert with_unanswered({2000: 7}, 12, since) == {2000: 7, 1_000_000: 6, 2_000_000: 1}
    assert with_unanswered({2000: 7}, 5, since) == {2000: 7}
