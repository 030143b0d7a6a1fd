"""Which commit of a remote an app should serve: the decision that the poll, the take-up and a person's request share. Pure."""

import re
from collections.abc import Mapping

_NUMBER = re.compile(r"(\d+)")


def wanted_head(heads: Mapping[str, str]) -> tuple[str, str] | None:
    """The ref and commit to serve of all that an app watches: its branch, or of several tags the highest version."""
    if not heads:
        return None
    ref = max(heads, key=_version)
    return ref, heads[ref]


def _version(ref: str) -> list[tuple[int, int, str]]:
    """`v1.10` after `v1.9`: numbers as numbers, the rest as text, and `v2.0-rc1` before `v2.0`."""
    parts = [(2, int(part), "") if part.isdigit() else (1, 0, part) for part in _NUMBER.split(ref) if part]
    return [(0, 0, part[2]) if part[2].startswith("-") else part for part in parts] + [(1, 0, "")]
