"""The log of each deploy, `<app>/<number>.log`: appended to, redacted, bounded, followed while it grows.

A log is plain UTF-8 text for everybody who may see the deploy, of which it knows only the name. Followers are told that there is
more; what there is they read from the file, so that a slow one costs nothing and a late one misses nothing.
"""

import asyncio
import logging
import os
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self

from deployd.errors import RequestRefused, Unavailable
from deployd.redaction import Redactor, SafeStream

_logger = logging.getLogger(__name__)

_APP = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
_BLOCK = 64 * 1024
_PAUSE_S = 0.05
_REMEMBERED_LINES = 200
_LONGEST_LINE = 2000

Key = tuple[str, int]


class LogFile:
    """One log while it is written. Everything written is in the file when `write` returns (not yet safe from power loss)."""

    def __init__(self, path: Path, redactor: Redactor, limit: int, feed: "_Feed") -> None:
        self._limit = limit
        # Room for the closing words and, after them, for the last lines: they say why a noisy build failed.
        self._reserve = min(16 * 1024, limit // 2)
        self._feed = feed
        self._stream = SafeStream(redactor)
        self._lines: deque[str] = deque(maxlen=_REMEMBERED_LINES)
        self._line = ""
        self._left_out = 0
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        self._size = os.fstat(self._fd).st_size
        self._full = self._size > limit - self._reserve
        self._broken = False
        # A crash may have cut the last line, even inside a character.
        self._inside_line = self._size > 0 and os.pread(self._fd, 1, self._size - 1) != b"\n"
        self._end_line()

    def write(self, text: str) -> None:
        """Append `text` without secrets, control sequences and what goes past the limit. A disk that fails loses the log,
        not the deploy. ValueError once closed."""
        if self._fd < 0:
            raise ValueError("the log is closed")
        self._put(self._stream.feed(text))

    def hide(self, secret: str) -> None:
        """Mask `secret` from here on."""
        self._stream.redactor = self._stream.redactor.knowing(secret)

    def tail(self, lines: int = 10) -> str:
        """The last lines written by this process, at most 200, as they stand in the log."""
        known = [*self._lines, self._line] if self._line else list(self._lines)
        return "\n".join(known[-lines:]) if lines > 0 else ""

    def close(self) -> None:
        """Write what was held back and let the followers end. Idempotent."""
        if self._fd < 0:
            return
        self._put(self._stream.end())
        if self._left_out:
            self._append_last_lines()
        self._end_line()
        os.close(self._fd)
        self._fd = -1
        self._feed.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

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
            kept = data[:room].decode("utf-8", "ignore").encode()
            self._left_out += len(data) - len(kept)
            self._append(kept)
            self._end_line()
            self._append(f"-- the limit of {self._limit} bytes is reached: only the last lines follow --\n".encode())

    def _append_last_lines(self) -> None:
        notice = f"-- {self._left_out} bytes left out --\n"
        last = self.tail(_REMEMBERED_LINES).encode("utf-8", "backslashreplace")
        room = self._limit - self._size - len(notice) - 1
        if room > 0:
            kept = last[-min(room, len(last)) :].decode("utf-8", "ignore")
            self._append(f"{notice}{kept}\n".encode())

    def _remember(self, text: str) -> None:
        *complete, rest = text.split("\n")
        for line in complete[-_REMEMBERED_LINES:]:
            self._lines.append((self._line + line)[:_LONGEST_LINE])
            self._line = ""
        self._line = (self._line + rest)[:_LONGEST_LINE]

    def _end_line(self) -> None:
        if self._inside_line:
            self._append(b"\n")

    def _append(self, data: bytes) -> None:
        try:
            while data and not self._broken:
                written = os.write(self._fd, data)
                self._size += written
                self._inside_line = data[written - 1 : written] != b"\n"
                data = data[written:]
        except OSError as exc:
            self._broken = True
            _logger.warning("Cannot write the log of a deploy, the rest of it is lost: %s", exc.strerror)
        self._feed.tell()


class Logs:
    """All logs below one directory."""

    def __init__(self, directory: Path, secrets: Iterable[str] = (), *, limit: int = 16 * 1024**2) -> None:
        """`limit`: bytes that one log may have."""
        self._directory = directory
        self._limit = limit
        self._redactor = Redactor(secrets)
        self._feeds: dict[Key, _Feed] = {}

    def open(self, app: str, number: int) -> LogFile:
        """The log of `app/number`, to append to; one writer at a time. Unavailable when the disk refuses."""
        path, key = self._path(app, number), (app, number)
        feed = self._feeds.get(key) or _Feed(partial(self._feeds.pop, key))
        if feed.open:
            raise ValueError(f"the log of {app}/{number} is open already")
        try:
            log = LogFile(path, self._redactor, self._limit, feed)
        except OSError as exc:
            raise Unavailable(f"cannot open the log of {app}/{number}: {exc.strerror}", hint=str(path)) from exc
        feed.open = True
        self._feeds[key] = feed
        return log

    def hide(self, secrets: Iterable[str]) -> None:
        """Mask these too, in logs opened from here on."""
        for secret in secrets:
            self._redactor = self._redactor.knowing(secret)

    def redact(self, text: str) -> str:
        """`text` with the known secrets masked, for reasons and hints."""
        return self._redactor.redact(text)

    def exists(self, app: str, number: int) -> bool:
        """Whether there is a log (not yet begun, or pruned: there is none)."""
        return self._path(app, number).is_file()

    async def read(self, app: str, number: int, start_byte: int = 0) -> AsyncIterator[bytes]:
        """What the log holds now, in blocks."""
        path, offset = self._path(app, number), _within(start_byte)
        while block := _read(path, offset):
            yield block
            offset += len(block)

    async def follow(
        self, app: str, number: int, start_byte: int = 0, *, expected: bool = False
    ) -> AsyncIterator[bytes]:
        """The log from `start_byte` on, and what is appended as it comes, until the log is closed.

        A log that nobody has open ends at once, unless it is `expected`: then it is waited for, until it was opened and
        closed, or `give_up` says that it never will be.
        """
        path, offset = self._path(app, number), _within(start_byte)
        with self._following((app, number), expected=expected) as feed:
            while True:
                news, ended = feed.news, feed.ended
                if block := feed.block(path, offset):
                    offset += len(block)
                    yield block
                elif ended:
                    return
                else:
                    await news.wait()

    def give_up(self, app: str, number: int) -> None:
        """Release those who expect a log that will not be opened, of a deploy that ended while it was queued."""
        feed = self._feeds.get((app, number))
        if feed is not None and not feed.open:
            feed.end()

    async def prune(self, count: int, total_bytes: int) -> int:
        """Remove each app's oldest logs past `count`, then the oldest of all past `total_bytes`; the bytes freed.

        Logs that are open, and the newest of each app, stay.
        """
        return await asyncio.to_thread(self._prune, count, total_bytes)

    def _path(self, app: str, number: int) -> Path:
        if not _APP.fullmatch(app) or type(number) is not int or number < 1:
            raise RequestRefused(404, "there is no such log")
        return self._directory / app / f"{number}.log"

    @contextmanager
    def _following(self, key: Key, *, expected: bool) -> Iterator["_Feed"]:
        feed = self._feeds.get(key)
        if feed is None:
            feed = _Feed(partial(self._feeds.pop, key))
            if expected:
                self._feeds[key] = feed
            else:
                feed.ended = True
        feed.followers += 1
        try:
            yield feed
        finally:
            feed.followers -= 1
            if not feed.followers and not feed.open and not feed.ended:
                feed.end()

    def _prune(self, count: int, total_bytes: int) -> int:
        stale: list[tuple[float, int, Path]] = []
        total = freed = 0
        for directory in self._directory.iterdir() if self._directory.is_dir() else ():
            logs = sorted(_logs_of(directory), reverse=True)
            for place, (number, path) in enumerate(logs):
                stat = path.stat()
                total += stat.st_size
                if place > 0 and (directory.name, number) not in self._feeds:
                    age = float("-inf") if place >= count else stat.st_mtime
                    stale.append((age, stat.st_size, path))
        for age, size, path in sorted(stale):
            if age == float("-inf") or total - freed > total_bytes:
                path.unlink(missing_ok=True)
                freed += size
        return freed


class _Feed:
    """The news of one log that is open or expected. Followers in step share one read of the file."""

    def __init__(self, forget: Callable[[], object]) -> None:
        self.open = self.ended = False
        self.followers = 0
        self.news = asyncio.Event()
        self._forget = forget
        self._last: tuple[int, bytes] = (0, b"")
        self._told_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def tell(self) -> None:
        """There is more. Followers hear of it at once, but of many pieces in a row together: a build may print thousands of
        lines in a second."""
        if self.followers and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, self._told_at + _PAUSE_S - loop.time()), self._wake, loop)

    def end(self) -> None:
        """There will be no more."""
        self.open, self.ended = False, True
        self.news.set()
        self._forget()

    def block(self, path: Path, offset: int) -> bytes:
        """The file from `offset` on, at most one block; nothing at its end."""
        if self._last[0] != offset or not self._last[1]:
            self._last = (offset, _read(path, offset))
        return self._last[1]

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, self._told_at = None, loop.time()
        self.news.set()
        self.news = asyncio.Event()


def _within(start_byte: int) -> int:
    """A position that a file can have."""
    return min(max(0, start_byte), 2**62)


def _read(path: Path, offset: int) -> bytes:
    """At most one block: of a local file, mostly still in memory."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(fd, _BLOCK, offset)
    finally:
        os.close(fd)


def _logs_of(directory: Path) -> Iterator[tuple[int, Path]]:
    for path in directory.glob("*.log"):
        if path.stem.isdecimal():
            yield int(path.stem), path
