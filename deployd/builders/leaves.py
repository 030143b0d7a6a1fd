"""The unnamed images that our builds left on an engine, by id: nothing on them says whose they are, so it is written down here.

One id a line, oldest first, in one file. A file that is lost leaves images behind and does no harm: what the disk refuses is
said in the daemon's log, and no build or clean-up ends for it.
"""

import logging
import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

_logger = logging.getLogger(__name__)

_ID = re.compile("sha256:[0-9a-f]{64}")


class Leaves:
    """The list; small, so read whole each time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> list[str]:
        """Every id, each once, the oldest first; none when the list cannot be read."""
        try:
            text = self._path.read_text(errors="replace")
        except FileNotFoundError:
            return []
        except OSError as exc:
            _logger.warning("Cannot read which unnamed images builds left: %s", exc.strerror)
            return []
        return list(dict.fromkeys(line for line in text.splitlines() if _ID.fullmatch(line)))

    def add(self, ids: Iterable[str]) -> None:
        """Append to the list."""
        if not (lines := "".join(f"{each}\n" for each in ids)):
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(f"\n{lines}")  # the line before may have been cut short
        except OSError as exc:
            _logger.warning("Cannot note which unnamed images a build left: %s", exc.strerror)

    def forget(self, ids: AbstractSet[str]) -> None:
        """Take these off the list."""
        known = self.all()
        if ids.isdisjoint(known):
            return
        scratch = self._path.with_name(f"{self._path.name}.new")
        try:
            scratch.write_text("".join(f"{each}\n" for each in known if each not in ids))
            scratch.replace(self._path)
        except OSError as exc:
            with suppress(OSError):
                scratch.unlink()
            _logger.warning("Cannot forget unnamed images that are gone: %s", exc.strerror)
