"""A request that the gateway has recorded: how HAProxy writes it in one datagram, and as a line of the ring. Pure.

Only JSON is kept: what cannot be parsed has no fields that could be removed.
"""

import base64
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from deployd.gateway.sampling import MARK


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request to an app that was answered well: `at` (seconds since 1970), its path as the app saw it, and its JSON body."""

    at: float
    method: str
    path: str
    body: Any

    def line(self) -> bytes:
        """As a line of JSON."""
        named = {"at": round(self.at, 3), "method": self.method, "path": self.path, "body": self.body}
        return json.dumps(named, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> "RecordedRequest | None":
        """The inverse of `line`; None when it was cut off."""
        try:
            return cls(**json.loads(line))
        except (ValueError, TypeError):
            return None


def parse(datagram: bytes, at: float) -> tuple[str, RecordedRequest] | None:
    """The app and the request of a datagram: `MARK app status method base64 path`. None when it is no request, was not answered
    well, or is no JSON."""
    parts = datagram.rstrip(b"\n\0").decode(errors="replace").split(" ", 5)
    if len(parts) != 6 or parts[0] != MARK or not parts[2].startswith("2"):
        return None
    try:
        body = json.loads(base64.b64decode(parts[4], validate=True))
    except (ValueError, RecursionError):
        return None
    return parts[1], RecordedRequest(at, parts[3], parts[5], body)


def without(body: Any, names: Collection[str]) -> Any:
    """`body` without the fields of these names, wherever they are in it."""
    if isinstance(body, dict):
        return {name: without(value, names) for name, value in body.items() if name not in names}
    return [without(value, names) for value in body] if isinstance(body, list) else body
