"""A Chromium for the tests of the pages: the one on PATH, or Debian's."""

import shutil
from pathlib import Path

from deployd.bringup.packages import ensure_packages
from deployd.bringup.progress import Progress

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium(progress: Progress) -> Path:
    """The path of the browser; Unavailable when there is none and none can be installed."""
    if (path := found()) is None:
        ensure_packages("chromium", progress=progress)
        path = found()
    assert path is not None
    return path


def found() -> Path | None:
    """The browser on PATH, if there is one."""
    return next((Path(path) for name in _NAMES if (path := shutil.which(name))), None)
