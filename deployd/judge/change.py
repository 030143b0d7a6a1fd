"""Detects that the errors of a release have become ten times as frequent as usual: a cumulative sum (CUSUM). Pure.

After the switch nothing serves beside a release to compare it with. So each request moves a sum: an error up by what it says
for ten times the usual rate, a good answer down, and never below 0. At 14 the change is certain. With a usual rate of 0.5 %, a
release that errs as usual comes there in 3 of 10,000 watches of 6,000 requests; one that errs always after 7 requests, with 30 %
after 22, with 10 % after 74.
"""

import math

from deployd.judge.shares import wilson
from deployd.judge.traffic import Traffic

LIMIT = 14.0
_TIMES = 10.0
_HIGHEST_USUAL, _HIGHEST_CHANGED = 0.25, 0.5
# As high as the usual rate is taken because too little is known of the release before.
_UNSURE = 0.1


class Change:
    """The cumulative sum of one release. `usual`: the share of its requests that may fail."""

    def __init__(self, usual: float) -> None:
        self.usual = usual
        self.value = 0.0
        changed = min(_HIGHEST_CHANGED, _TIMES * usual)
        self._up = math.log(changed / usual)
        self._down = math.log((1 - changed) / (1 - usual))

    def add(self, requests: int, bad: int) -> None:
        """Count requests, `bad` of which failed. Adding many at once can only detect a change later than adding them one by
        one."""
        good = max(0, requests - bad)
        self.value = max(0.0, self.value + bad * self._up + good * self._down)

    @property
    def certain(self) -> bool:
        """Whether the errors have certainly become more frequent."""
        return self.value >= LIMIT


def usual_rate(before: Traffic, least: float) -> float:
    """The share of requests that may fail: twice the error rate that the release before had in its last requests, at least
    `least`."""
    if not before.requests:
        return least
    unsure = min(_UNSURE, 2 * wilson(before.bad, before.requests)[1])
    return min(_HIGHEST_USUAL, max(least, unsure, 2 * before.rate))
