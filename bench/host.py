"""How much processor time one process took, and how much the host of this virtual machine gave to others.

A round may measure the latter instead of us. Linux counts it in /proc/stat as `steal`: the time in which a processor had work but
did not run.
"""

import os
from pathlib import Path
from typing import NamedTuple

_STEAL = 7  # user, nice, system, idle, iowait, irq, softirq, steal; the rest is contained in user and nice


class Ticks(NamedTuple):
    """The ticks of all processors since the boot."""

    stolen: int
    all: int

    @classmethod
    def now(cls) -> "Ticks":
        """The ticks until now."""
        with Path("/proc/stat").open() as stat:
            return cls.of(stat.readline())

    @classmethod
    def of(cls, line: str) -> "Ticks":
        """The ticks in the first line of /proc/stat, which sums up all processors."""
        ticks = [int(word) for word in line.split()[1 : _STEAL + 2]]
        return cls(ticks[_STEAL], sum(ticks))

    def stolen_since(self) -> float:
        """The share of processor time, 0 to 1, that the host has taken since then."""
        now = Ticks.now()
        return (now.stolen - self.stolen) / max(1, now.all - self.all)


def processor_ticks(pid: int) -> list[int]:
    """The time of a process until now: user and system, then those of its children that ended."""
    return [int(ticks) for ticks in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]]


def processor_seconds(pid: int) -> float:
    """User and system time of the process itself until now."""
    return sum(processor_ticks(pid)[:2]) / os.sysconf("SC_CLK_TCK")
