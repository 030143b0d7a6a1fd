"""Samples of the traffic of apps: how finely they are kept and for how long, and how their durations are summed up. Pure.

A sample covers one stretch of a grain, aligned to it, for one release. So a sum over stretches is a sample, too.
"""

import bisect
from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from deployd.judge.latency import typical
from deployd.judge.traffic import Histogram, Reading

NO_RELEASE = 0
"""The release number for requests that reached no release: nothing served, or no known deploy made it."""


class Grain(Struct, frozen=True):
    """How long the stretches are, and for how long they are kept."""

    seconds: int
    kept: int

    def stretch(self, at: float) -> int:
        """The beginning of the stretch of a moment."""
        return int(at) // self.seconds * self.seconds


FINE = Grain(10, 3600)
COARSE = Grain(600, 7 * 86400)


class Counted(Struct, frozen=True):
    """A gateway's counters for an app so far, and the deploys that have the addresses in them."""

    reading: Reading
    deploys: Mapping[str, int]


class Sample(Struct, frozen=True):
    """The requests to release `number` of an app in the stretch that begins `at`. `errors`: without an answer, or with 5xx;
    `refused`: with 4xx. `latencies`: how many answers took how long, in classes that are at most a third wide."""

    app: str
    number: int
    at: int
    requests: int
    errors: int = 0
    refused: int = 0
    latencies: Histogram = field(default_factory=dict)

    def plus(self, other: "Sample") -> "Sample":
        """The sum of both, in the stretch of this one."""
        return Sample(
            app=self.app,
            number=self.number,
            at=self.at,
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            refused=self.refused + other.refused,
            latencies=merged([self.latencies, other.latencies]),
        )

    @property
    def error_rate(self) -> float | None:
        """The share of the requests that went wrong; None without requests."""
        return min(1.0, self.errors / self.requests) if self.requests else None

    def quantile(self, quantile: float) -> float | None:
        """A quantile of the durations in milliseconds, as well as the classes tell; None without durations."""
        found = typical(self.latencies, quantile)
        return None if found is None else found / 1000


class Rates(Struct, frozen=True):
    """How an app was asked in the last `seconds`."""

    seconds: float
    requests_per_second: float
    error_rate: float | None
    p95_ms: float | None


_LEAST = tuple(round(step * 10**power) for power in range(9) for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8))


def merged(parts: Iterable[Histogram]) -> dict[int, int]:
    """Histograms summed up, in the classes of a sample."""
    found: dict[int, int] = {}
    for part in parts:
        for least, count in part.items():
            kept = _LEAST[max(0, bisect.bisect_right(_LEAST, least) - 1)]
            found[kept] = found.get(kept, 0) + count
    return found


def summed(samples: Iterable[Sample], at: int) -> Sample:
    """The sum of samples as one sample, whichever release they are of."""
    requests = errors = refused = 0
    latencies: dict[int, int] = {}  # no class is looked up again: those of samples stay as they are
    for sample in samples:
        requests, errors, refused = requests + sample.requests, errors + sample.errors, refused + sample.refused
        for least, count in sample.latencies.items():
            latencies[least] = latencies.get(least, 0) + count
    return Sample("", NO_RELEASE, at, requests, errors, refused, latencies)
