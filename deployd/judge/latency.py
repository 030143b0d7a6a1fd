"""Tests whether one release is slower than another, with bounds of quantiles for any distribution. Pure, without scipy.

Of n durations in order, the quantile q lies above the l-th and below the u-th but for a chance of `ALPHA` each, where l and u
come from the binomial distribution. A release is slower when the lower bound of its quantile is more than `RATIO` times the upper
bound of the other's, plus `FLOOR_US`. So what takes a few milliseconds anyway may become three times as slow.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deployd.judge.traffic import Histogram

ALPHA = 1e-4
RATIO = 2.0
FLOOR_US = 5_000
_QUANTILES = (0.5, 0.95)
_LEAST = 20
_WIDTH = 1.1


@dataclass(frozen=True, slots=True)
class Slower:
    """A quantile that is proven to be slower: at least `at_least_us`, where the other release's is at most `other_at_most_us`."""

    quantile: float
    at_least_us: int
    other_at_most_us: int

    def __str__(self) -> str:
        name = "median" if self.quantile == 0.5 else f"p{self.quantile * 100:g}"
        other = _milliseconds(self.other_at_most_us)
        return f"its {name} is at least {_milliseconds(self.at_least_us)}, that of the old release at most {other}"


def slower(new: Histogram, old: Histogram, ratio: float = RATIO, alpha: float = ALPHA) -> Slower | None:
    """The first quantile of `new` that is slower than `old`'s; None when none is, or too little is known of one."""
    for quantile in _QUANTILES:
        low, high = lower_bound(new, quantile, alpha), upper_bound(old, quantile, alpha)
        if low is not None and high is not None and low > ratio * high + FLOOR_US:
            return Slower(quantile, low, high)
    return None


def with_unanswered(durations: Histogram, unanswered: int, since: Sequence[tuple[int, int]]) -> Histogram:
    """`durations` with those of the requests that have no answer yet, as long as they have taken so far: otherwise a release that
    does not answer at all would not look slow.

    `since`: for some moments how long ago they were, in µs, and how many requests have come since. Of those that wait, at most
    these came later; all others have waited for longer."""
    found, longer = dict(durations), 0
    for ago, came in sorted(since, reverse=True):
        if (older := max(longer, unanswered - came)) > longer:
            found[ago] = found.get(ago, 0) + older - longer
            longer = older
    return found


def lower_bound(durations: Histogram, quantile: float, alpha: float = ALPHA) -> int | None:
    """A lower bound of the quantile in µs; None when there are too few durations."""
    n = sum(durations.values())
    rank = ppf(alpha, n, quantile) if n >= _LEAST else 0
    return _at(durations, rank) if rank >= 1 else None


def upper_bound(durations: Histogram, quantile: float, alpha: float = ALPHA) -> int | None:
    """An upper bound of the quantile in µs; None when there are too few durations."""
    n = sum(durations.values())
    rank = ppf(1 - alpha, n, quantile) + 1 if n >= _LEAST else n + 1
    return math.ceil(_at(durations, rank) * _WIDTH) if rank <= n else None


def typical(durations: Histogram, quantile: float) -> int | None:
    """The quantile itself, in µs, for a person to read; None when there are no durations."""
    n = sum(durations.values())
    return _at(durations, max(1, math.ceil(quantile * n))) if n else None


def ppf(alpha: float, n: int, q: float) -> int:
    """The least k to which a binomial variable of n trials with chance q comes with a probability of at least `alpha`."""
    total, k = 0.0, 0
    for k, chance in _binomial(n, q):
        total += chance
        if total >= alpha:
            return k
    return k


def _binomial(n: int, q: float) -> Iterator[tuple[int, float]]:
    """Each count with its probability, but for the ends, which have none to speak of."""
    spread = 12 * math.sqrt(n * q * (1 - q)) + 12
    first, last = max(0, int(n * q - spread)), min(n, int(n * q + spread) + 1)
    choices = math.lgamma(n + 1) - math.lgamma(first + 1) - math.lgamma(n - first + 1)
    chance = math.exp(choices + first * math.log(q) + (n - first) * math.log(1 - q))
    for k in range(first, last + 1):
        yield k, chance
        chance *= (n - k) / (k + 1) * q / (1 - q)


def _at(durations: Histogram, rank: int) -> int:
    """The least duration of the class in which the one of that rank is; the shortest has rank 1."""
    seen, least = 0, 0
    for least in sorted(durations):
        seen += durations[least]
        if seen >= rank:
            return least
    return least


def _milliseconds(us: int) -> str:
    return f"{us / 1000:.3g} ms" if us < 1_000_000 else f"{us / 1_000_000:.3g} s"
