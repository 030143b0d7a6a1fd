"""The times of a log's lines, in a file beside it: each entry is a byte of the log and the time of the line that begins there.

A line has the time of the last entry at or before its first byte. An entry is made at most every tenth of a second, so a busy
log has few. The log itself stays text without times.
"""

import os
import struct
from bisect import bisect_left
from pathlib import Path

_ENTRY = struct.Struct("<Qd")
_APART_S = 0.1

Time = tuple[int, float]
"""A byte of the log, and seconds since the epoch."""


class LineTimes:
    """Adds the times of one log that is open. A disk that refuses them loses the times, not the log."""

    def __init__(self, path: Path, size: int) -> None:
        """`size` of the log. Entries beyond it belong to text that a crash has lost."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        known = times_in(path, end=size)
        os.ftruncate(self._fd, len(known) * _ENTRY.size)
        self._last = known[-1][1] if known else 0.0

    def add(self, offset: int, at: float) -> None:
        """A line begins at `offset`."""
        if 0 <= at - self._last < _APART_S or self._fd < 0:
            return
        self._last = at
        try:
            os.write(self._fd, _ENTRY.pack(offset, at))
        except OSError:
            self.close()

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def times_in(path: Path, start: int = 0, end: int | None = None) -> list[Time]:
    """The entries from byte `start` of the log up to `end` (not with it), in order; none where there is no file, as of a log from
    before there were times."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return []
    try:
        count = os.fstat(fd).st_size // _ENTRY.size
        first = _place(fd, count, start)
        last = count if end is None else _place(fd, count, end)
        content = os.pread(fd, max(0, last - first) * _ENTRY.size, first * _ENTRY.size)
    finally:
        os.close(fd)
    return [(offset, at) for offset, at in _ENTRY.iter_unpack(content)]


def _place(fd: int, count: int, byte: int) -> int:
    """The first of `count` entries for `byte` or later."""

    def offset(place: int) -> int:
        found: int = _ENTRY.unpack(os.pread(fd, _ENTRY.size, place * _ENTRY.size))[0]
        return found

    return bisect_left(range(count), byte, key=offset) if byte else 0
