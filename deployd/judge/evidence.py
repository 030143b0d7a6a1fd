"""The evidence that one of two releases errs more often than the other: an E value. Pure.

While both serve, each request goes to the new release with the chance `share`. If both err equally often, so do the errors: then
no rule, however often it looks, sees E reach 10,000 more often than once in 10,000 canaries. If the new one errs R times as
often, E grows with each of its errors. R is not known: E is the mean over three. It goes on over steps of other shares.

Neighbouring errors often have one cause, such as a client that repeats itself: so of a release at most one counts in a tick.
"""

import math
from dataclasses import dataclass

TICK_SECONDS = 0.1
ENOUGH = 10_000.0
LEAST_EVENTS = 4
LEAST_DIFFERENCE = 0.01
LEAST_RATIO = 2.0
_RATIOS = (3.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Count:
    """The requests to one release in a canary so far, and how many of them went wrong."""

    requests: int = 0
    events: int = 0

    @property
    def rate(self) -> float:
        """The share that went wrong; a request that was tried again may count twice."""
        return min(1.0, self.events / self.requests) if self.requests else 0.0


class Evidence:
    """The evidence for one kind of event. Fed once a tick with what both releases were asked since the canary began."""

    def __init__(self) -> None:
        self._logs = dict.fromkeys(_RATIOS, 0.0)
        self._new = self._old = Count()
        self._began = Count(), Count()
        self._ticks = 0

    def begin_step(self) -> None:
        """The share changes: the observed one counts from here on."""
        self._began = self._new, self._old

    def tick(self, share: float, new: Count, old: Count) -> None:
        """One tick in which `share` of the requests was to go to the new release.

        Where more went there (few clients that stay with one release), the observed share counts; to take the larger one only
        makes E smaller."""
        asked = new.requests - self._began[0].requests, old.requests - self._began[1].requests
        chance = max(share, asked[0] / sum(asked)) if sum(asked) else share
        for ratio in _RATIOS:
            scale = math.log(ratio * chance + 1 - chance)
            if new.events > self._new.events:
                self._logs[ratio] += math.log(ratio) - scale
            if old.events > self._old.events:
                self._logs[ratio] -= scale
        self._ticks += new.events > self._new.events
        self._new = Count(new.requests, max(new.events, self._new.events))
        self._old = Count(old.requests, max(old.events, self._old.events))

    @property
    def value(self) -> float:
        """E; at most 1e300."""
        return sum(math.exp(min(log, 690.0)) for log in self._logs.values()) / len(self._logs)

    @property
    def enough(self) -> bool:
        """Whether the new release certainly errs more often, and by so much that it matters."""
        new, old = self._new.rate, self._old.rate
        matters = new >= old + LEAST_DIFFERENCE and new >= LEAST_RATIO * old
        return matters and self._ticks >= LEAST_EVENTS and self.value >= ENOUGH
