"""What a share of a few says of the share of all: an interval, and the test of signs. Pure."""

import math

_Z = 1.96


def wilson(events: int, count: int) -> tuple[float, float]:
    """The limits of a share of which `events` of `count` were seen, by Wilson: the true one is in between 95 times in 100."""
    share, square = min(1.0, events / count), _Z * _Z
    middle = share + square / (2 * count)
    spread = _Z * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    whole = 1 + square / count
    return max(0.0, (middle - spread) / whole), min(1.0, (middle + spread) / whole)


def at_least_so_many(events: int, count: int) -> float:
    """The test of signs: the probability of `events` or more of `count` where each is as likely as not."""
    return float(sum(math.comb(count, one) for one in range(events, count + 1)) / 2**count)
