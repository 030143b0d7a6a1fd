"""A root file system of Debian as a tar, made by debootstrap from the machine's mirror.

Made once per machine, in about a minute; contains nothing of this host.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deployd.bringup.cache import directory
from deployd.bringup.packages import ensure_packages, mirror
from deployd.bringup.progress import Progress
from deployd.errors import Unavailable

_CONTENTS = "python3,python3-venv,python3-pip,ca-certificates"
_LINES = 580  # that debootstrap prints for these contents: the total of the progress bar
_EXCLUDED = ("dev/*", "proc/*", "sys/*", "var/cache/apt/*", "var/lib/apt/lists/*", "var/log/*")
_EXCLUDED_DOCUMENTS = ("usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*")


def debian_root(suite: str, progress: Progress) -> Path:
    """The tar of a minimal Debian `suite` with Python; made if it is missing, which needs root on Debian."""
    archive = directory() / f"debian-{suite}.tar"
    if archive.exists():
        return archive
    ensure_packages("debootstrap", progress=progress)
    with _scratch() as root:
        with progress.step(f"making a Debian {suite} by debootstrap", total=_LINES) as step:
            _run(
                ["debootstrap", "--variant=minbase", f"--include={_CONTENTS}", suite, str(root), mirror()], step.advance
            )
        unfinished = archive.with_suffix(f".{os.getpid()}")
        excluded = [f"--exclude=./{path}" for path in (*_EXCLUDED, *_EXCLUDED_DOCUMENTS)]
        subprocess.run(["tar", "-C", root, *excluded, "-cf", unfinished, "."], check=True)
        unfinished.replace(archive)
    return archive


def _run(command: list[str], each_line: Callable[[], None]) -> None:
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            lines.append(line)
            each_line()
    if process.returncode:
        raise Unavailable(f"{command[0]} failed", hint="".join(lines[-10:]))


@contextmanager
def _scratch() -> Iterator[Path]:
    """A temporary directory. It is removed at the end, unless a file system of the host is still mounted in it."""
    path = Path(tempfile.mkdtemp(prefix="root-", dir=directory()))
    try:
        yield path
    finally:
        for inner in ("proc", "sys"):
            subprocess.run(["umount", "--lazy", path / inner], capture_output=True, check=False)
        if not any((path / inner).is_mount() for inner in ("proc", "sys")):
            shutil.rmtree(path)
