"""The logs of all deploys, `<app>/<number>.log`, each with the times of its lines beside it: open, read, follow while they grow,
prune.

Knows apps and deploys only by name and number.
"""

import asyncio
import os
import re
import threading
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from operator import itemgetter
from pathlib import Path

from deployd.errors import RequestRefused, Unavailable
from deployd.logs.file import Feed, LogFile, block_at, times_beside
from deployd.logs.lines import LineCounts, Lines
from deployd.logs.redaction import Redactor
from deployd.logs.times import Time, times_in

_APP = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")

# More than nearly every build prints. A browser shows that much without effort, and it is a sixteenth of `retention.log_bytes`.
LIMIT = 64 * 1024**2

Key = tuple[str, int]


class Logs:
    """All logs below one directory."""

    def __init__(self, directory: Path, secrets: Iterable[str] = (), *, limit: int = LIMIT) -> None:
        """`limit`: the maximum size of one log, in bytes."""
        self._directory = directory
        self._limit = limit
        self._redactor = Redactor(secrets)
        self._feeds: dict[Key, Feed] = {}
        self._counts = LineCounts()
        self._pruning = threading.Lock()

    def open(self, app: str, number: int) -> LogFile:
        """The log of `app/number`, to append to; one writer at a time. Unavailable when the disk fails."""
        path, key = self._path(app, number), (app, number)
        feed = self._feeds.get(key) or Feed(partial(self._feeds.pop, key))
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
        """Mask these secrets too, in logs that are opened from now on."""
        for secret in secrets:
            self._redactor = self._redactor.including(secret)

    def redact(self, text: str) -> str:
        """`text` with the known secrets masked, for reasons and hints."""
        return self._redactor.redact(text)

    def exists(self, app: str, number: int) -> bool:
        """Whether there is a log; False before it is begun and after it was pruned."""
        return self._path(app, number).is_file()

    async def read(
        self, app: str, number: int, start_byte: int = 0, end_byte: int | None = None
    ) -> AsyncGenerator[bytes]:
        """The present content of the log from `start_byte` up to `end_byte` (not with it), in blocks."""
        path, offset = self._path(app, number), _offset(start_byte)
        while (end_byte is None or offset < end_byte) and (block := block_at(path, offset)):
            yield block if end_byte is None else block[: end_byte - offset]
            offset += len(block)

    async def lines(self, app: str, number: int) -> Lines:
        """Where the lines of the present log are."""
        return await asyncio.to_thread(self._counts.of, self._path(app, number))

    def times(self, app: str, number: int, start_byte: int = 0, end_byte: int | None = None) -> list[Time]:
        """When the lines were written that begin between these bytes; of a log from before there were times, nothing."""
        return times_in(times_beside(self._path(app, number)), start_byte, end_byte)

    async def follow(
        self, app: str, number: int, start_byte: int = 0, *, expected: bool = False
    ) -> AsyncGenerator[bytes]:
        """The log from `start_byte` on, and what is appended, until the log is closed.

        When nobody writes the log, this ends with its present content, unless the log is `expected`: then it waits until
        the log was opened and closed, or `give_up` was called.
        """
        path, offset = self._path(app, number), _offset(start_byte)
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
        """End the followers of a log that will not be opened: the deploy ended while it was queued."""
        feed = self._feeds.get((app, number))
        if feed is not None and not feed.open:
            feed.end()

    async def prune(self, count: int, total_bytes: int, *, dry_run: bool = False) -> int:
        """Remove the oldest logs of each app beyond `count`, then the oldest of all beyond `total_bytes`; return the bytes freed,
        or with `dry_run` those that would be.

        Open logs and the newest of each app stay. Unavailable when the disk fails.
        """
        return await asyncio.to_thread(self._prune, count, total_bytes, dry_run)

    def _path(self, app: str, number: int) -> Path:
        if not _APP.fullmatch(app) or type(number) is not int or number < 1:
            raise RequestRefused(404, "there is no such log")
        return self._directory / app / f"{number}.log"

    @contextmanager
    def _following(self, key: Key, *, expected: bool) -> Iterator[Feed]:
        feed = self._feeds.get(key)
        if feed is None:
            feed = Feed(partial(self._feeds.pop, key))
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

    def _prune(self, count: int, total_bytes: int, dry_run: bool) -> int:
        try:
            # The lock is taken in the thread, which goes on when the task that waits for it is cancelled.
            with self._pruning:
                return self._remove_stale(count, total_bytes, dry_run)
        except OSError as exc:
            raise Unavailable(f"cannot remove old logs: {exc.strerror}", hint=str(self._directory)) from exc

    def _remove_stale(self, count: int, total_bytes: int, dry_run: bool) -> int:
        stale: list[tuple[float, int, Path]] = []
        total = freed = 0
        for directory in self._directory.iterdir() if self._directory.is_dir() else ():
            logs = sorted(_logs_of(directory), key=itemgetter(0), reverse=True)
            for place, (number, path, stat) in enumerate(logs):
                total += stat.st_size
                if place > 0 and (directory.name, number) not in self._feeds:
                    age = float("-inf") if place >= count else stat.st_mtime
                    stale.append((age, stat.st_size, path))
        for age, size, path in sorted(stale):
            if age == float("-inf") or total - freed > total_bytes:
                freed += size
                if not dry_run:
                    times_beside(path).unlink(missing_ok=True)
                    path.unlink(missing_ok=True)
        return freed


def _offset(start_byte: int) -> int:
    """`start_byte`, limited to what pread accepts."""
    return min(max(0, start_byte), 2**62)


def _logs_of(directory: Path) -> Iterator[tuple[int, Path, os.stat_result]]:
    for path in directory.glob("*.log"):
        if path.stem.isdecimal():
            with suppress(FileNotFoundError):
                yield int(path.stem), path, path.stat()
