"""The skip marks in a commit message, which ask for no deploy; the same as in GitHub Actions. Pure."""

import re

_MARK = re.compile(r"\[(?:skip ci|ci skip|no ci|skip actions|actions skip|skip deploy)\]", re.IGNORECASE)
_PARAGRAPHS = re.compile(r"\n[ \t\r]*\n")
_TRAILER = re.compile(r"^skip-checks:[ \t]*true[ \t\r]*$", re.IGNORECASE | re.MULTILINE)


def skip_mark(message: str) -> str | None:
    """The skip mark in `message`, or None. A trailer counts only in the last of several paragraphs."""
    if (found := _MARK.search(message)) is not None:
        return found[0]
    *before, last = _PARAGRAPHS.split(message.rstrip())
    return "skip-checks: true" if before and _TRAILER.search(last) else None
