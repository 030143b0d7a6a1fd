"""How a command ends: its exit code, and an expected failure on standard error without a traceback."""

import sys

from deployd.errors import ConfigError, DeploydError
from deployd.host.systemd import stderr_is_journal

FAILED, USAGE, UNREACHABLE, CONFIG = 1, 2, 69, 78


def print_error(exc: DeploydError) -> int:
    """Print the message and the hint; return the exit code. In the journal they are errors too."""
    said = f"error: {exc.message}" + (f"\nhint: {exc.hint}" if exc.hint else "")
    priority = "<3>" if stderr_is_journal() else ""
    for line in said.splitlines():
        print(priority + line, file=sys.stderr)
    return CONFIG if isinstance(exc, ConfigError) else FAILED


def expected_in(group: BaseExceptionGroup) -> DeploydError | None:
    """The first expected failure in an exception group; None when the group contains a bug."""
    matching, rest = group.split(DeploydError)
    if rest is not None or matching is None:
        return None
    inner: BaseException = matching
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner if isinstance(inner, DeploydError) else None
