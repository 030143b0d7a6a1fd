"""Which commit of a remote an app should serve: the decision that the poll, the take-up and a person's request share. Pure."""

import re
from collections.abc import Mapping

from msgspec import Struct

_NUMBER = re.compile(r"(\d+)")


class Known(Struct, frozen=True):
    """What is remembered of an app's branch: the last head that was taken up, and the last one that the app declined.

    `stands_on` is the wanted commit below the declined one, and so what the app should serve while that is the head.
    """

    seen: str | None = None
    declined: str | None = None
    stands_on: str | None = None


class Outdated(Exception):
    """The commit is not what the app should serve any more; `head` is, as ref and commit (None: the branch is gone)."""

    def __init__(self, head: tuple[str, str] | None) -> None:
        super().__init__(head)
        self.head = head


_NOTHING_KNOWN = Known()


def wanted_head(heads: Mapping[str, str], known: Known = _NOTHING_KNOWN) -> tuple[str, str] | None:
    """The ref and commit to serve of all that an app watches: its branch, or of several tags the highest version."""
    if not heads:
        return None
    ref = max(heads, key=_version)
    if heads[ref] == known.declined and known.stands_on is not None:
        return ref, known.stands_on
    return ref, heads[ref]


def stands_on(before: str, known: Known, newest: str | None) -> str | None:
    """The wanted commit below a head that is declined and was pushed onto `before`; None when that was never asked for.

    Then a push between was missed, and only this one can bring it. `newest` is the commit of the app's newest deploy.
    """
    if before == known.declined:
        return known.stands_on
    if before in {known.seen, newest}:
        return before
    return None if before.strip("0") else known.seen or newest


def _version(ref: str) -> list[tuple[int, int, str]]:
    """`v1.10` after `v1.9`: numbers as numbers, the rest as text, and `v2.0-rc1` before `v2.0`."""
    parts = [(2, int(part), "") if part.isdigit() else (1, 0, part) for part in _NUMBER.split(ref) if part]
    return [(0, 0, part[2]) if part[2].startswith("-") else part for part in parts] + [(1, 0, "")]
