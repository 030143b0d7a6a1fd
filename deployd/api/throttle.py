"""Slows down the guessing of tokens: each address waits longer after each failure, and all together have a limit an hour.

In memory, bounded; a restart forgets it. A token is too long to be guessed: this keeps the log readable and the machine free.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

_FREE, _LONGEST_S = 5, 300.0
_IN_ALL, _HOUR_S = 600, 3600.0
_ADDRESSES = 1000


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until: float = 0.0


class Throttle:
    """The throttle. It is asked before a token is checked, and told the result."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._of: OrderedDict[str, _Failures] = OrderedDict()
        self._all: deque[float] = deque(maxlen=_IN_ALL)

    def wait(self, peer: str) -> float:
        """The seconds until `peer` may try again; 0 when it may now."""
        now = self._now()
        own = self._of[peer].until - now if peer in self._of else 0.0
        together = self._all[0] + _HOUR_S - now if len(self._all) == _IN_ALL else 0.0
        return max(own, together, 0.0)

    def failed(self, peer: str) -> None:
        """A wrong token came from `peer`: after a few, each one doubles the wait."""
        now = self._now()
        found = self._of.setdefault(peer, _Failures())
        found.count += 1
        if found.count >= _FREE:
            found.until = now + min(2.0 ** (found.count - _FREE), _LONGEST_S)
        self._of.move_to_end(peer)
        if len(self._of) > _ADDRESSES:
            self._of.popitem(last=False)
        self._all.append(now)

    def passed(self, peer: str) -> None:
        """A right token came from `peer`."""
        self._of.pop(peer, None)
