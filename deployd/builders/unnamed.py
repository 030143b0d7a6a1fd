"""A list of the unnamed images that our builds left on an engine. They carry no labels, so their ids are recorded here.

One file with one id per line, oldest first. Losing it only leaves images behind, so an error of the disk is logged and fails no
build or clean-up.
"""

import logging
import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

_logger = logging.getLogger(__name__)

_ID = re.compile("sha256:[0-9a-f]{64}")


class UnnamedImages:
    """The list. It is small, so it is read as a whole each time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> list[str]:
        """All ids, each once, oldest first; empty when the list cannot be read."""
        try:
            text = self._path.read_text(errors="replace")
        except FileNotFoundError:
            return []
        except OSError as exc:
            _logger.warning("Cannot read the list of unnamed images: %s", exc.strerror)
            return []
        return list(dict.fromkeys(line for line in text.splitlines() if _ID.fullmatch(line)))

    def add(self, ids: Iterable[str]) -> None:
        """Add ids to the end of the list."""
        if not (lines := "".join(f"{each}\n" for each in ids)):
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(f"\n{lines}")  # the line before may have been cut short
        except OSError as exc:
            _logger.warning("Cannot record which unnamed images a build left: %s", exc.strerror)

    def forget(self, ids: AbstractSet[str]) -> None:
        """Remove ids from the list."""
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
            _logger.warning("Cannot remove deleted images from the list of unnamed images: %s", exc.strerror)
