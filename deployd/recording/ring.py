"""The recorded requests of one app on disk, bounded in bytes and in time.

There is one file for each hour, with an equal share of the bytes; what does not fit into its hour is not kept. So the requests of
a whole day are there, not only the last ones. Only the owner can read them.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from deployd.recorded import Recorded
from deployd.recording.request import line, parse_line

HOURS = 24
"""How many hours with requests are kept, the newest."""
_HOUR_SECONDS = 3600
_OLDEST_SECONDS = 7 * 86400


class Ring:
    """A directory of files, each of one hour. `size`: the bytes of all."""

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory
        self._most = size // HOURS
        self._hour, self._written = -1, 0

    def add(self, request: Recorded, at: float) -> bool:
        """Keep a request of that time, in seconds since 1970; False when its hour is full."""
        text, hour = line(request, at), int(at) // _HOUR_SECONDS
        if hour != self._hour:
            self._begin(hour, at)
        if self._written + len(text) > self._most:
            return False
        with os.fdopen(os.open(self._file(hour), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            file.write(text)
        self._written += len(text)
        return True

    def requests(self, count: int) -> list[Recorded]:
        """At most `count` requests, spread evenly over all that are there."""
        total = sum(1 for _ in self._all())
        wanted = {index * total // count for index in range(count)} if total > count else range(total)
        return [request for index, request in enumerate(self._all()) if index in wanted]

    def _all(self) -> Iterator[Recorded]:
        for path in self._files():
            with path.open("rb") as file:
                yield from (request for text in file if (request := parse_line(text)) is not None)

    def _begin(self, hour: int, now: float) -> None:
        """Begin another file, or go on with one from before a restart; remove the oldest."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = [path for path in self._files() if path != self._file(hour)]
        for number, path in enumerate(reversed(files), start=1):
            if number >= HOURS or int(path.stem) * _HOUR_SECONDS < now - _OLDEST_SECONDS:
                path.unlink(missing_ok=True)
        self._hour, self._written = hour, 0
        with suppress(FileNotFoundError):
            self._written = self._file(hour).stat().st_size

    def _files(self) -> list[Path]:
        return sorted(self._directory.glob("*.jsonl"))

    def _file(self, hour: int) -> Path:
        return self._directory / f"{hour}.jsonl"
