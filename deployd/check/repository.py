"""The part of `deployd check` about a repository that `deployd new` made: its remote, and what its lock lacks."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from deployd.check.finding import Finding
from deployd.config.app import App
from deployd.config.daemon import Config
from deployd.starter.repository import BRANCH, EXAMPLE
from deployd.starter.wheel import sha256

_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;]+)", re.MULTILINE)
_FILE = re.compile(r"^(?P<path>\./[^\s\[]+\.whl)(?:\[[^\]]*\])?", re.MULTILINE)
_LOCK = "make lock"


def found_in(file: Path, config: Config) -> Iterator[Finding]:
    """What is missing in the repository that the config file is in; nothing where `deployd new` has not made it."""
    directory = file.absolute().parent
    if not _was_made_here(directory):
        return
    origin = _origin(directory)
    if origin is None:
        hint = f"git remote add origin ADDRESS, then git push -u origin {BRANCH}"
        yield Finding("remote", "wrong", "this repository has no remote to push to", hint)
    else:
        yield Finding("remote", "ok", origin)
        yield from (
            Finding("remote", "warning", f"app.{app.name}.repo is {app.repo}, but origin is {origin}")
            for app in config.app
            if not is_example(app) and origin not in {app.repo, app.repo.removeprefix("file://")}
        )
    yield from _lock(directory)


def is_example(app: App) -> bool:
    """Whether nobody has written the address of the repository yet."""
    return app.repo.startswith(EXAMPLE)


def example(app: App) -> Finding:
    """The finding about such an app."""
    detail = f"app.{app.name}.repo: {app.repo} is still the example"
    return Finding(f"app {app.name}", "wrong", detail, "write the address that you push to", in_config=True)


def _was_made_here(directory: Path) -> bool:
    requirements = directory / "requirements.txt"
    return requirements.is_file() and "./vendor/model_service-" in _text(requirements)


def _text(file: Path) -> str:
    return file.read_text(errors="replace")  # pip takes other encodings, too


def _origin(directory: Path) -> str | None:
    try:
        asked = ["git", "config", "--get", "remote.origin.url"]
        done = subprocess.run(asked, cwd=directory, capture_output=True, text=True, check=False)
    except OSError:
        return None
    # By https the user may be a token; by ssh it is part of the address.
    return re.sub(r"^(https?://)[^/@]*@", r"\1", done.stdout.strip()) or None


def _lock(directory: Path) -> Iterator[Finding]:
    """Whether requirements.lock holds what requirements.txt asks for."""
    file = directory / "requirements.lock"
    if not file.is_file():
        yield Finding("lock", "wrong", "requirements.lock is missing", _LOCK)
        return
    locked, asked = _text(file), _text(directory / "requirements.txt")
    faults = [*_unlocked_files(directory, asked, locked), *_unlocked(asked, locked)]
    yield from (Finding("lock", "wrong", fault, _LOCK) for fault in faults)
    if not faults:
        yield Finding("lock", "ok", "requirements.lock has all that requirements.txt asks for")


def _unlocked_files(directory: Path, asked: str, locked: str) -> Iterator[str]:
    for found in _FILE.finditer(asked):
        wheel = directory / found["path"]
        if not wheel.is_file():
            yield f"{found['path']} is missing, which requirements.txt names"
        elif found["path"] not in locked or sha256(wheel) not in locked:
            yield f"requirements.lock was made for another {found['path']}"


def _unlocked(asked: str, locked: str) -> Iterator[str]:
    pins: dict[str, list[str]] = {}
    for pin in _PIN.finditer(locked):
        pins.setdefault(canonicalize_name(pin["name"]), []).append(pin["version"])
    for line in asked.splitlines():
        try:
            requirement = Requirement(line.partition(" #")[0].strip())
        except InvalidRequirement:  # a comment, a file or an option: `make lock` knows it
            continue
        versions = pins.get(canonicalize_name(requirement.name))
        if versions is None:
            yield f"requirements.lock lacks {requirement.name}, which requirements.txt names"
        elif requirement.url is None and not any(
            requirement.specifier.contains(one, prereleases=True) for one in versions
        ):
            yield f"requirements.lock has {requirement.name} {versions[0]}, but requirements.txt asks for {requirement}"
