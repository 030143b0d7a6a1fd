"""A gateway's counters for each place where an app runs, and the traffic between two readings of them. Pure.

A gateway counts from its own start, for each of its workers and each of a worker's slots, and a slot is used again for another
container. So figures are only compared for the same worker, slot and address, and a `Window` adds up what they grew by.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

Histogram = Mapping[int, int]
"""How many answers took how long: by the least duration of a class, in µs. A class is at most a tenth wider than its least."""


@dataclass(frozen=True, slots=True)
class Place:
    """One slot of one worker, with the address that it has."""

    worker: int
    slot: str
    address: str


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters of one place since its worker began. `attempts`: requests sent there, also those sent again after a failure;
    `answered`: with any status; `errors`: of those, with 5xx; `refused`: with 4xx; `given_up`: the client went away; `open`: in
    progress now."""

    attempts: int = 0
    answered: int = 0
    errors: int = 0
    refused: int = 0
    given_up: int = 0
    open: int = 0
    latencies: Histogram = field(default_factory=dict)


Reading = Mapping[Place, Counters]


@dataclass(frozen=True, slots=True)
class Traffic:
    """The traffic of one address in a window. `bad`: attempts without an answer, or with 5xx; `refused`: with 4xx; `unanswered`:
    how many have no answer yet."""

    requests: int = 0
    bad: int = 0
    refused: int = 0
    latencies: Histogram = field(default_factory=dict)
    unanswered: int = 0

    @property
    def rate(self) -> float:
        """The share of bad attempts."""
        return self.bad / self.requests if self.requests else 0.0

    def minus(self, before: "Traffic") -> "Traffic":
        """The traffic since `before`, of the same window."""
        return Traffic(
            self.requests - before.requests,
            self.bad - before.bad,
            self.refused - before.refused,
            _less(self.latencies, before.latencies),
            self.unanswered,
        )


class Window:
    """The traffic of every address since the first reading."""

    def __init__(self, first: Reading) -> None:
        self._base = dict(first)
        self._last = dict(first)
        self._banked: dict[str, list[Traffic]] = {}

    def add(self, now: Reading) -> None:
        """Count the traffic until `now`.

        A worker that is new has counted from zero. A place that is new in a known worker has the figures of the container before
        it, so what it is asked counts from here on. A worker that has ended takes its last moments along."""
        known = {place.worker for place in self._last}
        for place, counters in now.items():
            before = self._last.get(place)
            if before is None:
                self._base[place] = counters if place.worker in known else Counters()
            elif counters.attempts < before.attempts:  # another process with the same id
                self._bank(place)
                self._base[place] = Counters()
        for gone in self._last.keys() - now.keys():
            self._bank(gone)
        self._last = dict(now)

    def of(self, address: str) -> Traffic:
        """The traffic of `address` so far."""
        now = [_grown(self._base[p], counters) for p, counters in self._last.items() if p.address == address]
        return _sum([*self._banked.get(address, ()), *now])

    def whole(self) -> Traffic:
        """The traffic of all addresses so far."""
        addresses = {place.address for place in self._last} | self._banked.keys()
        return _sum([self.of(address) for address in addresses])

    def _bank(self, place: Place) -> None:
        grown = replace(_grown(self._base.pop(place), self._last[place]), unanswered=0)
        self._banked.setdefault(place.address, []).append(grown)


def _grown(base: Counters, now: Counters) -> Traffic:
    """The traffic between two readings of a place.

    What was in progress at the first may be answered by now, without having been counted as an attempt here: so attempts without
    an answer are rather counted too low. A client that goes away while it gets its answer lowers them, too."""
    answered, given_up = now.answered - base.answered, now.given_up - base.given_up
    attempts, errors = now.attempts - base.attempts, now.errors - base.errors
    without_answer = max(0, attempts - answered - given_up)
    unanswered = min(now.open, without_answer)  # others that are open get the rest of their answer
    latencies = _less(now.latencies, base.latencies)
    return Traffic(attempts, without_answer - unanswered + errors, now.refused - base.refused, latencies, unanswered)


def _less(now: Histogram, before: Histogram) -> Histogram:
    return {least: count for least in now if (count := now[least] - before.get(least, 0)) > 0}


def _sum(parts: Iterable[Traffic]) -> Traffic:
    requests = bad = refused = unanswered = 0
    latencies: dict[int, int] = {}
    for part in parts:
        requests, bad, refused = requests + part.requests, bad + part.bad, refused + part.refused
        unanswered += part.unanswered
        for least, count in part.latencies.items():
            latencies[least] = latencies.get(least, 0) + count
    return Traffic(requests, bad, refused, latencies, unanswered)
