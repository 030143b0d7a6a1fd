"""Requests that clients sent, one JSON object on each line: {"method", "path", "body"}. Pure.

Whoever records requests writes such lines, and whoever asks a release what clients asked reads them. More keys are allowed.
"""

import json
from dataclasses import dataclass
from typing import Any

import msgspec

from deployd.errors import RolloutFailed
from deployd.wording import plain


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request. `path` has its query; a `body` of null is none."""

    path: str
    method: str = "POST"
    body: Any = None

    @property
    def url(self) -> str:
        """The URL of the request."""
        return self.path


def parse(content: bytes, name: str) -> list[Recorded]:
    """The requests of a file, in its order; RolloutFailed says which line is wrong."""
    found = []
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            recorded = msgspec.convert(json.loads(line), Recorded)
        except msgspec.ValidationError as exc:
            raise RolloutFailed(f"{name}, line {number}: {plain(exc)}", hint=_HINT) from exc
        except (ValueError, RecursionError) as exc:
            raise RolloutFailed(f"{name}, line {number}: not JSON", hint=_HINT) from exc
        if not recorded.path.startswith("/"):
            raise RolloutFailed(f"{name}, line {number}: the path must begin with /", hint=_HINT)
        found.append(recorded)
    return found


_HINT = 'expected {"method", "path", "body"} on each line'
