"""The meaning of GitHub's error answers: its documented limits, and faults that a person has to fix. Pure."""

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from deployd.logs.log import printable
from deployd.reporters.reporter import Later, Refused

_LONGEST_SECONDS = 2 * 3600.0  # what a wrong clock could make of it
_LONGEST_SAID = 300

# A token, an App's token in both of its forms, and a JWT: none may reach a log, whoever quotes it.
_TOKENS = re.compile(r"\b(gh[pousr]_[\w.-]+|github_pat_\w+|eyJ[\w-]+\.[\w-]+\.[\w-]*)")


def masked(text: str) -> str:
    """`text` without anything that has the form of a token of GitHub."""
    return _TOKENS.sub("***", text)


def fault_of(status: int, headers: Mapping[str, str], said: str, asked: str) -> Later | Refused | None:
    """The error in an answer, None when there is none. `said` is its message, `asked` the request: `POST /repos/…`."""
    if status < 400:
        return None
    what = printable(masked(f"{status} to {asked}" + (f": {said}" if said else "")), _LONGEST_SAID)
    if status == 429 or (status == 403 and _is_limit(headers, said)):
        return Later(f"GitHub's rate limit is reached: {what}", seconds=_wait(headers), limited=True)
    if status >= 500 or status == 408:
        return Later(f"GitHub answered {what}", seconds=_after(headers))
    if status == 401:
        hint = "its token is wrong, has expired or was revoked: see [github] token or [github.app]"
        return Refused(f"GitHub answered {what}", hint=hint, everything=True)
    if status in {403, 404}:
        hint = "the token or the App must have access to this repository, with the rights that docs/github.md names"
        return Refused(f"GitHub answered {what}", hint=hint)
    return Refused(f"GitHub answered {what}", forever=True)


def _is_limit(headers: Mapping[str, str], said: str) -> bool:
    spent = headers.get("x-ratelimit-remaining") == "0"
    return spent or "retry-after" in headers or "rate limit" in said.lower() or "abuse" in said.lower()


def _wait(headers: Mapping[str, str]) -> float | None:
    """The seconds that a limit lasts; None where the answer names none, as for secondary limits: then the wait grows each
    time."""
    if (told := _after(headers)) is not None:
        return told
    if headers.get("x-ratelimit-remaining") == "0" and (reset := headers.get("x-ratelimit-reset", "")).isdigit():
        return _bounded(int(reset) - time.time() + 1.0)
    return None


def _after(headers: Mapping[str, str]) -> float | None:
    """`Retry-After`: seconds, or a time."""
    told = headers.get("retry-after", "").strip()
    if told.isdigit():
        return _bounded(float(told))
    try:
        return _bounded(parsedate_to_datetime(told).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 1.0), _LONGEST_SECONDS)
