"""The wheel of model_service that a new repository gets, and the lock of all that it needs.

It is the wheel that came with deployd (setup.py puts it there). In a checkout of deployd it is made of the sources there.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from deployd.errors import RequestRefused, Unavailable

_HERE = Path(__file__).parent
_SOURCES = Path(__file__).parents[2] / "model_service"
_LOCKS = ("model_service/serving.lock", "model_service/training.lock")
_PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?===)")
_1980 = "315532800"  # the first time that a wheel can hold: the same sources make the same wheel


def put_wheel(directory: Path) -> Path:
    """Put the wheel into `directory`. RequestRefused where deployd was installed without it."""
    if (_SOURCES / "pyproject.toml").is_file():
        return build_wheel(_SOURCES, directory)
    came = sorted(_HERE.glob("model_service-*.whl"))
    if not came:
        raise RequestRefused(
            409,
            "this installation of deployd has no wheel of model_service",
            hint="install deployd as its README says, or run the deployd of a checkout",
        )
    return Path(shutil.copy(came[-1], directory))


def build_wheel(sources: Path, directory: Path) -> Path:
    """Make the wheel of the package in `sources`, which are only read. Unavailable when pip cannot."""
    with tempfile.TemporaryDirectory(prefix="deployd-wheel-") as aside:
        copy = Path(aside) / "model_service"
        shutil.copytree(sources, copy, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
        done = _pip_wheel(copy, Path(aside))
        made = list(Path(aside).glob("*.whl"))
        if done.returncode != 0 or not made:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise Unavailable(f"the wheel of model_service cannot be made: {''.join(last)}")
        return Path(shutil.copy(made[0], directory))


def _pip_wheel(sources: Path, into: Path) -> subprocess.CompletedProcess[str]:
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("setuptools") else []
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps", *isolation]
    return subprocess.run(
        [*command, "--wheel-dir", str(into), str(sources)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"SOURCE_DATE_EPOCH": _1980},
    )


def lock(wheel: Path) -> str:
    """A requirements file with the wheel and all that it needs to train and to serve, each with its hashes."""
    pins: dict[str, str] = {}
    with zipfile.ZipFile(wheel) as content:
        for name in _LOCKS:
            pins |= _pins(content.read(name).decode())
    own = f"./vendor/{wheel.name} \\\n    --hash=sha256:{sha256(wheel)}\n"
    return own + "".join(pins[name] for name in sorted(pins))


def sha256(file: Path) -> str:
    """The hash of a file, as a requirements file has it."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _pins(text: str) -> dict[str, str]:
    """Name -> the lines of each requirement, without comments."""
    pins: dict[str, str] = {}
    name = ""
    for line in _without_comments(text):
        if (pin := _PIN.match(line)) is not None:
            name = pin[0]
            pins[name] = ""
        pins[name] += f"{line}\n"
    return pins


def _without_comments(text: str) -> Iterator[str]:
    return (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
