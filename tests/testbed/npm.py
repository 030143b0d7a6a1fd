"""Packages of npm whose files tests read: pinned by hash, unpacked into the cache.

This needs npm, which is installed as root on Debian.
"""

import base64
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deployd.bringup.cache import directory, locked
from deployd.bringup.packages import ensure_packages
from deployd.bringup.progress import Progress
from deployd.errors import Unavailable


def unpacked(package: str, sha512: str, progress: Progress | None = None, only: Sequence[str] = ()) -> Path:
    """The directory of an unpacked package (`name@version`), fetched if necessary; of its files only those in `only`, if given.

    Unavailable when it is neither in the cache nor can be fetched."""
    path = directory() / "npm" / hashlib.sha256(sha512.encode()).hexdigest()[:16]
    with locked("npm"):
        if not path.exists():
            _fetch(package, sha512, path, progress or Progress(), only)
    return path


def _fetch(package: str, sha512: str, into: Path, progress: Progress, only: Sequence[str]) -> None:
    if not shutil.which("npm"):
        ensure_packages("npm", progress=progress)
    into.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch, progress.step(f"fetching {package}"):
        _run(["npm", "pack", package, "--ignore-scripts", "--silent", "--pack-destination", scratch], scratch)
        archive = next(Path(scratch).glob("*.tgz"))
        if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != sha512:
            raise Unavailable(f"{package} is not what was pinned", hint="the registry gave other bytes than before")
        _run(["tar", "--extract", "--gzip", "--file", str(archive), *(f"package/{name}" for name in only)], scratch)
        (Path(scratch) / "package").replace(into)


def _run(command: list[str], where: str) -> None:
    try:
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False, timeout=120)
    except subprocess.TimeoutExpired as exc:
        raise Unavailable(f"{command[0]} took longer than 120 s") from exc
    if done.returncode:
        raise Unavailable(f"{command[0]} failed", hint=done.stderr.strip()[-1000:])
