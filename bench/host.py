"""What the host took of this machine's processors: on a virtual machine that others share, a round may measure them instead.

Linux counts in /proc/stat, as `steal`, the time for which a processor had work and was not given to us.
"""

from pathlib import Path
from typing import NamedTuple

_STEAL = (
    7  # of the words behind `cpu`: user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already
)


class Ticks(NamedTuple):
    """Ticks of all processors since the boot."""

    stolen: int
    all: int

    @classmethod
    def now(cls) -> "Ticks":
        """Those until now."""
        with Path("/proc/stat").open() as stat:
            ticks = [int(word) for word in stat.readline().split()[1 : _STEAL + 2]]
        return cls(ticks[_STEAL], sum(ticks))

    def stolen_since(self) -> float:
        """The share of all processors, 0 to 1, that the host has taken since then."""
        now = Ticks.now()
        return (now.stolen - self.stolen) / max(1, now.all - self.all)
