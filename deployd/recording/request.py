"""A sampled request: how HAProxy writes it in one datagram, and as a line of the ring. Pure.

Only JSON is kept: what cannot be parsed has no fields that could be removed.
"""

import base64
import json
from collections.abc import Collection
from typing import Any

from deployd.gateway.sampling import MARK
from deployd.recorded import Recorded


def parse_datagram(datagram: bytes) -> tuple[str, Recorded] | None:
    """The app and the request of a datagram: `MARK app status method base64 path`. None when it is no request, was not answered
    well, or is no JSON."""
    parts = datagram.rstrip(b"\n\0").decode(errors="replace").split(" ", 5)
    if len(parts) != 6 or parts[0] != MARK or not parts[2].startswith("2"):
        return None
    try:
        body = json.loads(base64.b64decode(parts[4], validate=True))
    except (ValueError, RecursionError):
        return None
    return parts[1], Recorded(parts[5], parts[3], body)


def line(request: Recorded, at: float) -> bytes:
    """A request as a line of the ring, with its time in seconds since 1970."""
    named = {"at": round(at, 3), "method": request.method, "path": request.path, "body": request.body}
    return json.dumps(named, separators=(",", ":")).encode() + b"\n"


def parse_line(text: bytes) -> Recorded | None:
    """The request of a line; None when a crash has cut it off."""
    try:
        named = json.loads(text)
    except ValueError:
        return None
    return Recorded(named["path"], named["method"], named["body"])


def without(request: Recorded, names: Collection[str]) -> Recorded:
    """`request` without the fields of these names, wherever they are in its body."""
    return Recorded(request.path, request.method, _without(request.body, names))


def _without(body: Any, names: Collection[str]) -> Any:
    if isinstance(body, dict):
        return {name: _without(value, names) for name, value in body.items() if name not in names}
    return [_without(value, names) for value in body] if isinstance(body, list) else body
