"""How long to wait before something that failed is tried again: longer after each failure in a row.

It only counts. The caller sleeps, or waits for an event with the delay as its timeout.
"""

import random
from collections.abc import Sequence

DELAYS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Backoff:
    """`delays` are seconds, the last of them for every further failure. `jitter` is the share by which each may differ, so that
    many who failed together do not try again together."""

    def __init__(self, delays: Sequence[float] = DELAYS, *, jitter: float = 0.0) -> None:
        self.failures = 0
        self._delays = delays
        self._jitter = jitter

    def fail(self) -> float:
        """Count one more failure; how many seconds to wait now."""
        delay = self._delays[min(self.failures, len(self._delays) - 1)]
        self.failures += 1
        return delay * random.uniform(1 - self._jitter, 1 + self._jitter)  # noqa: S311 - no secret

    def reset(self) -> None:
        """After a success: count the next failure as the first again."""
        self.failures = 0
