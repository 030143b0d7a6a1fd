"""Installs Debian packages, and finds the mirror that this machine uses.

Only for a demo or a test machine; the daemon installs nothing.
"""

import os
import subprocess
from pathlib import Path

from deployd.bringup.cache import locked
from deployd.bringup.progress import Progress
from deployd.errors import Unavailable


def can_install() -> bool:
    """Whether this is root on Debian; nothing is installed anywhere else."""
    return os.geteuid() == 0 and Path("/usr/bin/apt-get").exists() and _release().get("ID") == "debian"


def ensure_packages(*names: str, progress: Progress | None = None) -> None:
    """Install those of the packages that are missing, and say which; Unavailable when that is not possible."""
    missing = [name for name in names if not _installed(name)]
    if not missing:
        return
    if not can_install():
        hint = "install them yourself, or run this as root on Debian"
        raise Unavailable(f"these Debian packages are needed: {' '.join(missing)}", hint=hint)
    with locked("apt"), (progress or Progress()).step(f"installing {' '.join(missing)} by apt"):
        refresh()
        _apt("install", "--yes", "--no-install-recommends", *missing)


def refresh() -> None:
    """Fetch the package lists; a new machine has none, or old ones."""
    _apt("update")


def known(name: str) -> bool:
    """Whether this Debian release has a package of that name."""
    answer = subprocess.run(["apt-cache", "policy", name], capture_output=True, text=True, check=False)
    return "Candidate:" in answer.stdout and "Candidate: (none)" not in answer.stdout


def mirror() -> str:
    """The URL of Debian's main archive in this machine's apt sources; Unavailable when there is none."""
    fields = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    for line in targets.splitlines():
        origin, label, address = line.split("|", 2)
        if (origin, label) == ("Debian", "Debian"):
            return address
    raise Unavailable("no apt source of this machine is a Debian archive", hint="check /etc/apt/sources.list.d")


def _release() -> dict[str, str]:
    text = Path("/etc/os-release")
    lines = text.read_text().splitlines() if text.exists() else []
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


def _installed(name: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat", "${db:Status-Status}", name]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"
    except FileNotFoundError:
        return False


def _apt(*arguments: str) -> None:
    command = ["apt-get", "--quiet=2", "-o", "DPkg::Lock::Timeout=300", *arguments]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise Unavailable(f"apt-get {arguments[0]} failed", hint=(done.stderr or done.stdout).strip()[-2000:])
