"""Root file systems of other Debian releases, with their engines, HAProxy and Podman in them; made once per machine.

Nothing of them is installed on the host. Daemons run in them (`engines`), clients by their own loader (`wrapper`).
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deployd.bringup.cache import directory, locked
from deployd.bringup.packages import can_install, ensure_packages, mirror
from deployd.bringup.progress import Progress
from deployd.errors import Unavailable

_BASE = "ca-certificates,iproute2,iptables,nftables,procps"
# Podman without its recommended packages has no network and no DNS, and pulls in a service manager with them.
_PACKAGES = (
    *("docker.io", "docker-cli", "docker-buildx", "containerd", "runc", "haproxy"),
    *("podman", "crun", "netavark", "aardvark-dns", "conmon", "catatonit", "passt"),
)
_LINES = 560  # that debootstrap prints: the total of the progress bar
_APT = """Acquire::Check-Valid-Until "false";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"""


@dataclass(frozen=True, slots=True)
class Root:
    """The root file system of `suite`."""

    suite: str
    path: Path

    def version(self, package: str) -> str:
        """The upstream version of a package in it: `28.5.2`."""
        query = ["dpkg-query", f"--admindir={self.path}/var/lib/dpkg", "--show", "--showformat=${Version}", package]
        version = subprocess.run(query, capture_output=True, text=True, check=True).stdout
        return version.rpartition(":")[2].partition("-")[0].partition("+")[0]

    def loader(self) -> Path:
        """Its dynamic loader, which runs its programs outside of it."""
        found = [*self.path.glob("usr/lib64/ld-linux-*.so.*"), *self.path.glob("usr/lib/ld-linux-*.so.*")]
        if not found:
            raise Unavailable(f"{self.path} contains no dynamic loader")
        return found[0]

    def libraries(self) -> Path:
        """The directory with its shared libraries."""
        return next(self.path.glob("usr/lib/*/libc.so.6")).parent

    def wrapper(self, program: str, at: Path) -> None:
        """Write a script to `at` that runs a program of it on the host: `/usr/bin/docker`."""
        at.parent.mkdir(parents=True, exist_ok=True)
        command = f'exec {self.loader()} --library-path {self.libraries()} {self.path}{program} "$@"'
        at.write_text(f"#!/bin/sh\n{command}\n")
        at.chmod(0o755)


def made(suite: str) -> bool:
    """Whether the root of `suite` is there."""
    return (directory() / "roots" / suite).exists()


def root(suite: str, progress: Progress) -> Root:
    """The root of `suite`, made if it is missing; Unavailable, with the reason, where that is not possible."""
    path = directory() / "roots" / suite
    if not can_install():
        raise Unavailable(f"an engine of Debian {suite} needs root on Debian")
    with locked(f"root-{suite}"):
        if not path.exists():
            ensure_packages("debootstrap", progress=progress)
            _make(suite, path, progress)
    return Root(suite, path)


def _make(suite: str, path: Path, progress: Progress) -> None:
    """Make it beside its place, so that what is in the place is whole."""
    unfinished = path.with_suffix(".unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.parent.mkdir(exist_ok=True)
    with progress.step(f"making a Debian {suite} by debootstrap", total=_LINES) as step:
        command = ["debootstrap", "--variant=minbase", f"--include={_BASE}", suite, str(unfinished), mirror()]
        _run(command, step.advance)
    (unfinished / "etc/apt/apt.conf.d/90testbed").write_text(_APT)
    policy = unfinished / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")  # start no service
    policy.chmod(0o755)
    with progress.step(f"installing the engines of Debian {suite} in it") as step:
        chroot = ["chroot", str(unfinished), "/usr/bin/env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes"]
        _run([*chroot, "install", *_PACKAGES], step.advance)
        _run([*chroot, "clean"], step.advance)
    unfinished.rename(path)


def _run(command: list[str], each_line: Callable[[], None]) -> None:
    lines: list[str] = []
    environment = os.environ | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            each_line()
    if process.returncode:
        raise Unavailable(f"{command[0]} failed", hint="".join(lines[-10:]))
