"""What an app wants of what its remote shows: which ref is its head, and whether that head is deployed or skipped.

Pure, and the only place that decides it: the look, `plan` and `check` ask here, whatever made them ask.
"""

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from deployd.config.app import App
from deployd.config.globs import touches
from deployd.domain import Head, Skip
from deployd.logs.log import printable
from deployd.order.marks import skip_mark

_EVERYTHING = ("**",)
_NUMBER = re.compile(r"(\d+)")


def head_of(refs: Mapping[str, str]) -> Head | None:
    """The head among the refs that an app follows: its branch, or of several tags the highest version. None when there is no
    ref."""
    if not refs:
        return None
    ref = max(refs, key=_version)
    return Head(ref, refs[ref])


def needs_diff(app: App) -> bool:
    """Whether the files that changed can make a difference to `decide`."""
    return app.paths != _EVERYTHING


def decide(app: App, message: str, changed: AbstractSet[str] | None) -> Skip | None:
    """Why the app skips a head; None when it wants it.

    `message` is the head commit's, `changed` the files that differ from the commit that was wanted last; None when that is not
    known: then everything counts as changed.
    """
    if (mark := skip_mark(message)) is not None:
        return Skip(f"the commit's message says {printable(mark)}")
    if changed is not None and needs_diff(app) and not touches(app.paths, changed):
        return Skip(f"no file under paths changed ({_shown(app.paths)})")
    return None


def _shown(patterns: Sequence[str]) -> str:
    return printable(", ".join(patterns), 200)


def _version(ref: str) -> list[tuple[int, int, str]]:
    """`v1.10` after `v1.9`: numbers as numbers, the rest as text, and `v2.0-rc1` before `v2.0`."""
    parts = [(2, int(part), "") if part.isdigit() else (1, 0, part) for part in _NUMBER.split(ref) if part]
    return [(0, 0, part[2]) if part[2].startswith("-") else part for part in parts] + [(1, 0, "")]
