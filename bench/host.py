"""What the host took of this machine's processors: on a virtual machine that others share, a round may measure them instead.

Linux counts in /proc/stat, as `steal`, the time for which a processor had work and was not given to us.
"""

from pathlib import Path
from typing import NamedTuple

_STEAL = 7  # user, nice, system, idle, iowait, irq, softirq, steal; what follows is in user already


class Ticks(NamedTuple):
    """Ticks of all processors since the boot."""

    stolen: int
    all: int

    @classmethod
    def now(cls) -> "Ticks":
        """Those until now."""
        with Path("/proc/stat").open() as stat:
            return cls.of(stat.readline())

    @classmethod
    def of(cls, line: str) -> "Ticks":
        """Those in the first line of /proc/stat, which is of all processors."""
        ticks = [int(word) for word in line.split()[1 : _STEAL + 2]]
        return cls(ticks[_STEAL], sum(ticks))

    def stolen_since(self) -> float:
        """The share of all processors, 0 to 1, that the host has taken since then."""
        now = Ticks.now()
        return (now.stolen - self.stolen) / max(1, now.all - self.all)
