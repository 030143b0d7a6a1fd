"""The unnamed images that our builds left on an engine, by id: nothing on them says whose they are, so it is written down here.

One id a line, oldest first, in one file. A file that is lost leaves images behind and does no harm.
"""

import re
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path

_ID = re.compile("sha256:[0-9a-f]{64}")


class Leaves:
    """The list; small, so read whole each time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> list[str]:
        """Every id, each once, the oldest first."""
        if not self._path.exists():
            return []
        return list(dict.fromkeys(line for line in self._path.read_text().splitlines() if _ID.fullmatch(line)))

    def add(self, ids: Iterable[str]) -> None:
        """Append to the list."""
        if lines := "".join(f"{each}\n" for each in ids):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(lines)

    def forget(self, ids: AbstractSet[str]) -> None:
        """Take these off the list."""
        if ids and self._path.exists():
            scratch = self._path.with_name(f"{self._path.name}.new")
            scratch.write_text("".join(f"{each}\n" for each in self.all() if each not in ids))
            scratch.replace(self._path)
