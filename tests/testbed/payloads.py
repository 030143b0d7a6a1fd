"""The example payloads that GitHub's own client library is tested with: one npm package, pinned by hash, kept in the cache.

`python -m tests.testbed.payloads` fetches it. This needs npm, which is installed as root on Debian.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from deployd.bringup.cache import directory, locked
from deployd.bringup.packages import ensure_packages
from deployd.bringup.progress import Progress
from deployd.errors import Unavailable

PACKAGE = "@octokit/webhooks-examples@7.6.1"
SHA512 = "De6U3XB6O3DtCa7bKgCMzTHdeopqqZ6SNivMYJnK65ierKL1AnNIA0tkRYCRS7lwGT792d+Ps1WbfHlso6MynQ=="


@dataclass(frozen=True)
class Payload:
    """One example: the `edition` of GitHub, the event's name, the number among the event's examples, and the body."""

    edition: str
    event: str
    number: int
    body: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.edition}/{self.event}/{self.number}"


@cache
def payloads() -> tuple[Payload, ...]:
    """All examples; Unavailable when the package is not in the cache and cannot be fetched."""
    found = []
    for index in sorted(ensure().glob("*/index.json")):
        for event in json.loads(index.read_text("utf-8")):
            found += [
                Payload(index.parent.name, event["name"], number, body) for number, body in enumerate(event["examples"])
            ]
    return tuple(found)


def ensure(progress: Progress | None = None) -> Path:
    """The directory of the unpacked package, fetched if necessary."""
    unpacked = directory() / "payloads" / hashlib.sha256(SHA512.encode()).hexdigest()[:16]
    with locked("payloads"):
        if not unpacked.exists():
            _fetch(unpacked, progress or Progress())
    return unpacked


def _fetch(into: Path, progress: Progress) -> None:
    if not shutil.which("npm"):
        ensure_packages("npm", progress=progress)
    into.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch, progress.step(f"fetching {PACKAGE}"):
        _run(["npm", "pack", PACKAGE, "--ignore-scripts", "--silent", "--pack-destination", scratch], scratch)
        archive = next(Path(scratch).glob("*.tgz"))
        if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != SHA512:
            raise Unavailable(f"{PACKAGE} is not what was pinned", hint="the registry gave other bytes than before")
        _run(["tar", "--extract", "--gzip", "--file", str(archive)], scratch)
        (Path(scratch) / "package").replace(into)


def _run(command: list[str], where: str) -> None:
    try:
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False, timeout=120)
    except subprocess.TimeoutExpired as exc:
        raise Unavailable(f"{command[0]} took longer than 120 s") from exc
    if done.returncode:
        raise Unavailable(f"{command[0]} failed", hint=done.stderr.strip()[-1000:])


if __name__ == "__main__":
    print(f"{len(payloads())} payloads in {ensure()}")
