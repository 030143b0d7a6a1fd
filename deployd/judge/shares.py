"""Statistics of proportions: Wilson's interval and the sign test. Pure."""

import math

_Z = 1.96


def wilson(events: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion, when `events` of `count` were seen."""
    share, square = min(1.0, events / count), _Z * _Z
    middle = share + square / (2 * count)
    spread = _Z * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    whole = 1 + square / count
    return max(0.0, (middle - spread) / whole), min(1.0, (middle + spread) / whole)


def at_least_so_many(events: int, count: int) -> float:
    """The sign test: the probability of `events` or more of `count` when each has a chance of one half."""
    return float(sum(math.comb(count, one) for one in range(events, count + 1)) / 2**count)
