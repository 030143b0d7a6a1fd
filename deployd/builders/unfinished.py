"""A record on disk of the layers that running builds report, so that a kill does not lose track of the layers that they leave.

One file per build: its start by the engine's clock, then the ids of its results and of its last layer, the container of its
present step, and the layers that it took from the cache. Losing one only leaves layers behind, so an error of the disk is logged
and fails no build or clean-up.
"""

import logging
import re
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_logger = logging.getLogger(__name__)

_ID = re.compile("(?:sha256:)?[0-9a-f]{12,64}")
_SCRATCH = ".new"
_RUNNING = "running in "
_CACHED = "from the cache "


class UnfinishedBuild:
    """The file of one build. `began`: its start, None before it is known; `told`: ids, full or short; `container`: that of its
    present step, which the build can forge; `cached`: ids of layers that it took from the cache."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.began: float | None = None
        self.told: Sequence[str] = ()
        self.container: str | None = None
        self.cached: Sequence[str] = ()

    def note(self, began: float, told: Sequence[str], container: str | None = None, cached: Sequence[str] = ()) -> None:
        """Write the reports so far, if they have changed."""
        if (told, container, cached) == (self.told, self.container, self.cached) or not told:
            return
        self.began, self.told, self.container, self.cached = began, told, container, cached
        running = [container] if container else []
        lines = [*told, *(f"{_RUNNING}{each}" for each in running), *(f"{_CACHED}{each}" for each in cached)]
        scratch = self._path.with_suffix(_SCRATCH)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            scratch.write_text("\n".join([str(began), *lines]))
            scratch.replace(self._path)
        except OSError as exc:
            _logger.warning("Cannot note which layers a build makes: %s", exc.strerror)

    def read(self) -> None:
        """Read the earlier notes; a file that cannot be read counts as empty."""
        try:
            first, *lines = self._path.read_text(errors="replace").split("\n")
            self.began = float(first)
        except (OSError, ValueError) as exc:
            _logger.warning("Cannot read which layers a build made: %s", exc)
            return
        self.told = _ids(lines, "")
        self.container = next(iter(_ids(lines, _RUNNING)), None)
        self.cached = _ids(lines, _CACHED)

    def settled(self) -> None:
        """Remove the file, and the directory with the last one."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
            self._path.parent.rmdir()


def _ids(lines: Sequence[str], word: str) -> list[str]:
    """The ids in the lines that begin with that word."""
    found = [line.removeprefix(word) for line in lines if line.startswith(word)]
    return [each for each in found if _ID.fullmatch(each)]


class UnfinishedBuilds:
    """All builds that are not settled, in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def new(self) -> UnfinishedBuild:
        """The record of a build that begins now."""
        return UnfinishedBuild(self._directory / uuid.uuid4().hex)

    def all(self) -> list[UnfinishedBuild]:
        """The recorded builds. Half-written files from a kill are removed."""
        found: list[UnfinishedBuild] = []
        for path in sorted(self._directory.glob("*")):
            build = UnfinishedBuild(path)
            if path.suffix == _SCRATCH:
                build.settled()
            else:
                build.read()
                found.append(build)
        return found
