"""The log file of one deploy while it is written, and the notification of its followers.

UTF-8 text with colours, redacted and bounded; the times of its lines are kept beside it. Followers are only told that the file
has grown and read it themselves, so that a slow one needs no memory and a late one misses nothing.
"""

import asyncio
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Self

from deployd.logs.redaction import Redactor, SafeStream
from deployd.logs.sgr import plain
from deployd.logs.times import LineTimes

_logger = logging.getLogger(__name__)

_BLOCK = 64 * 1024
_PAUSE_S = 0.05
_REMEMBERED_LINES = 200
_LONGEST_LINE = 2000


class LogFile:
    """One open log. What was written is in the file when `write` returns, but not yet safe from power loss."""

    def __init__(self, path: Path, redactor: Redactor, limit: int, feed: "Feed") -> None:
        self._limit = limit
        # Kept free for the last lines of a log that is too long: they say why the build failed.
        self._reserve = min(16 * 1024, limit // 2)
        self._feed = feed
        self._stream = SafeStream(redactor)
        self._lines: deque[tuple[float, str]] = deque(maxlen=_REMEMBERED_LINES)  # without colours
        self._line = ""
        self._left_out = 0
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        self._size = os.fstat(self._fd).st_size
        self._times = self._opened_times(path)
        self._full = self._size > limit - self._reserve
        self._broken = False
        # A crash may have cut the last line off, even inside a character.
        self._inside_line = self._size > 0 and os.pread(self._fd, 1, self._size - 1) != b"\n"
        self._end_line()

    def write(self, text: str) -> None:
        """Append `text` up to the limit, without secrets, and without control sequences other than colours. A disk error loses
        the log but does not fail the deploy. ValueError once closed."""
        if self._fd < 0:
            raise ValueError("the log is closed")
        self._put(self._stream.feed(text))

    def mark(self) -> int:
        """End the line that is under way; the byte at which the next one begins."""
        self._put(self._stream.end())
        if self._line or self._inside_line:
            self._put("\n")
        return self._size

    def hide(self, secret: str) -> None:
        """Mask `secret` from here on."""
        self._stream.redactor = self._stream.redactor.including(secret)

    def redact(self, text: str) -> str:
        """`text` with the secrets of this log masked."""
        return self._stream.redactor.redact(text)

    def tail(self, lines: int = 10) -> str:
        """The last lines that this process wrote, redacted and without colours; at most 200."""
        known = [text for _, text in self._lines] + ([self._line] if self._line else [])
        return "\n".join(known[-lines:]) if lines > 0 else ""

    def close(self) -> None:
        """Write the buffered rest, and end the followers. Idempotent."""
        if self._fd < 0:
            return
        self._put(self._stream.end())
        if self._left_out:
            self._append_last_lines()
        self._end_line()
        os.close(self._fd)
        self._times.close()
        self._fd = -1
        self._feed.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _opened_times(self, path: Path) -> LineTimes:
        try:
            return LineTimes(times_beside(path), self._size)
        except OSError:
            os.close(self._fd)
            raise

    def _put(self, text: str) -> None:
        if not text:
            return
        self._remember(text)
        data = text.encode("utf-8", "backslashreplace")
        room = self._limit - self._reserve - self._size
        if self._full:
            self._left_out += len(data)
        elif len(data) <= room:
            self._append(data)
        else:
            self._full = True
            kept = _beginning(data, room)
            self._left_out += len(data) - len(kept)
            self._append(kept)
            self._end_line()
            self._append(f"-- the limit of {self._limit} bytes is reached: only the last lines follow --\n".encode())

    def _append_last_lines(self) -> None:
        notice = f"-- {self._left_out} bytes left out --\n".encode()
        lines = [*self._lines, *([(time.time(), self._line)] if self._line else [])]
        room, kept = self._limit - self._size - len(notice), 0
        for _, text in reversed(lines):
            room -= len(text.encode("utf-8", "backslashreplace")) + 1
            if room < 0:
                break
            kept += 1
        self._end_line()
        if kept:
            self._append(notice, at=lines[-kept][0])
        for at, text in lines[len(lines) - kept :]:
            self._append(f"{text}\n".encode("utf-8", "backslashreplace"), at=at)

    def _remember(self, text: str) -> None:
        *complete, rest = plain(text).split("\n")
        now = time.time()
        for line in complete[-_REMEMBERED_LINES:]:
            self._lines.append((now, (self._line + line)[:_LONGEST_LINE]))
            self._line = ""
        self._line = (self._line + rest)[:_LONGEST_LINE]

    def _end_line(self) -> None:
        if self._inside_line:
            self._append(b"\n")

    def _append(self, data: bytes, at: float | None = None) -> None:
        """Write data at the end, with the time `at` which it began, or now."""
        first = 0 if not self._inside_line else data.find(b"\n") + 1 or len(data)
        if first < len(data):
            self._times.add(self._size + first, at or time.time())
        try:
            while data and not self._broken:
                written = os.write(self._fd, data)
                self._size += written
                self._inside_line = data[written - 1 : written] != b"\n"
                data = data[written:]
        except OSError as exc:
            self._broken = True
            _logger.warning("Cannot write the log of a deploy; the rest of it is lost: %s", exc.strerror)
        self._feed.tell()


class Feed:
    """Notifies the followers of one log that is open or expected. Followers at the same offset share one read of the file."""

    def __init__(self, forget: Callable[[], object]) -> None:
        self.open = self.ended = False
        self.followers = 0
        self.news = asyncio.Event()
        self._forget = forget
        self._last: tuple[int, bytes] = (0, b"")
        self._told_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def tell(self) -> None:
        """The log has grown. Followers wake at once, but at most every 50 ms: a build may print thousands of lines a second."""
        if self.followers and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, self._told_at + _PAUSE_S - loop.time()), self._wake, loop)

    def end(self) -> None:
        """The log will not grow any more."""
        self.open, self.ended = False, True
        self.news.set()
        self._forget()

    def block(self, path: Path, offset: int) -> bytes:
        """One block of the file from `offset` on; empty at its end."""
        if self._last[0] != offset or not self._last[1]:
            self._last = (offset, block_at(path, offset))
        return self._last[1]

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, self._told_at = None, loop.time()
        self.news.set()
        self.news = asyncio.Event()


def times_beside(path: Path) -> Path:
    """The file with the times of the log at `path`."""
    return path.with_suffix(".times")


def _beginning(data: bytes, room: int) -> bytes:
    """The beginning of the data: as many whole lines as fit; if the first is too long, its beginning without colours."""
    if (end := data.rfind(b"\n", 0, room)) >= 0:
        return data[: end + 1]
    return plain(data[:room].decode("utf-8", "ignore")).partition("\x1b")[0].encode()


def block_at(path: Path, offset: int) -> bytes:
    """One block from `offset` on. Blocks the event loop, but briefly: the file is local and mostly in the page cache."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(fd, _BLOCK, offset)
    finally:
        os.close(fd)
