"""The marks by which a commit's message asks not to be deployed, as GitHub Actions and other CI systems know them. Pure."""

import re

_MARK = re.compile(r"\[(?:skip ci|ci skip|no ci|skip actions|actions skip|skip deploy)\]", re.IGNORECASE)
_PARAGRAPHS = re.compile(r"\n[ \t\r]*\n")
_TRAILER = re.compile(r"^skip-checks:[ \t]*true[ \t\r]*$", re.IGNORECASE | re.MULTILINE)


def skip_mark(message: str) -> str | None:
    """The mark in a commit's message that asks for no deploy; None without one. A trailer counts in the last of several
    paragraphs."""
    if found := _MARK.search(message):
        return found[0]
    *before, last = _PARAGRAPHS.split(message.rstrip())
    return "skip-checks: true" if before and _TRAILER.search(last) else None
