"""The example payloads that GitHub's own client library is tested with: one npm package, pinned by hash, kept in the cache.

`python -m tests.testbed.payloads` fetches it. This needs npm, which is installed as root on Debian.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from deployd.bringup.progress import Progress
from tests.testbed.npm import unpacked

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
    return unpacked(PACKAGE, SHA512, progress)


if __name__ == "__main__":
    print(f"{len(payloads())} payloads in {ensure()}")
