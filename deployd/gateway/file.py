"""The config file that HAProxy reads when it starts without deployd. It is never half written, not even after a power cut."""

import os
from pathlib import Path

from deployd.errors import Unavailable


class ConfigFile:
    """One file. Writing replaces it as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def text(self) -> str:
        """Its content; empty when the file is missing or damaged."""
        try:
            return self._path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    def write(self, text: str) -> None:
        """Replace its content. Unavailable when the file cannot be written."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft = self._path.with_suffix(".new")
            with draft.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError as exc:
            hint = "free some space, or let deployd's user write to the directory"
            raise Unavailable(f"{self._path} cannot be written: {exc.strerror}", hint=hint) from exc
