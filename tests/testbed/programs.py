"""Programs of Debian packages that only tests run. They are unpacked into the cache, not installed.

Installing `docker-registry`, `etcd-server` or `openssh-server` on a host with systemd would start a service.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from deployd.bringup.cache import directory, locked
from deployd.bringup.packages import can_install, known, refresh
from deployd.errors import Unavailable

_ADMINS = "/usr/local/sbin:/usr/sbin:/sbin"  # not on the PATH of every user


def program(name: str, package: str) -> Path:
    """The path of the program: on PATH, or unpacked from `package`; Unavailable when neither is possible."""
    if found := shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_ADMINS}"):
        return Path(found)
    contents = unpacked(package)
    return next(path for path in (contents / "usr/bin" / name, contents / "usr/sbin" / name) if path.exists())


def unpacked(package: str) -> Path:
    """The directory with the contents of a Debian package; Unavailable when there is no apt, or apt cannot download it."""
    path = directory() / "packages" / package
    with locked(f"package-{package}"):
        if not path.exists():
            _unpack(package, path)
    return path


def _unpack(package: str, into: Path) -> None:
    if not shutil.which("apt-get"):
        raise Unavailable(
            f"the program of Debian's package {package} is needed", hint="install it, so that it is on PATH"
        )
    if can_install() and not known(package):
        refresh()
    into.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        _run(["apt-get", "--quiet=2", "-o", "APT::Sandbox::User=root", "download", package], Path(scratch))
        archive = next(Path(scratch).glob("*.deb"))
        contents = Path(scratch) / "contents"
        _run(["dpkg-deb", "--extract", str(archive), str(contents)], Path(scratch))
        contents.replace(into)


def _run(command: list[str], where: Path) -> None:
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{command[0]} failed", hint=(done.stderr or done.stdout).strip()[-1000:])
