"""The file from which HAProxy comes back without deployd: always whole, the old text or the new one, also after a power cut."""

import os
from pathlib import Path

from deployd.errors import Unavailable


class ConfigFile:
    """One file that is replaced, never changed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def text(self) -> str:
        """What stands in it; nothing when it is not there or is damaged."""
        try:
            return self._path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    def write(self, text: str) -> None:
        """Put `text` in its place. Raises Unavailable."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft = self._path.with_suffix(".new")
            with draft.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as exc:
            hint = "free some space, or give deployd's user the directory"
            raise Unavailable(f"{self._path} cannot be written: {exc.strerror}", hint=hint) from exc
