"""How a command ends: the exit codes, and how an expected failure is told on standard error, without a traceback."""

import sys

from deployd.errors import ConfigError, DeploydError

FAILED, USAGE, UNREACHABLE, CONFIG = 1, 2, 69, 78


def told(exc: DeploydError) -> int:
    """Say what went wrong and what to do; the exit code that it means."""
    print(f"error: {exc.message}", file=sys.stderr)
    if exc.hint:
        print(f"hint: {exc.hint}", file=sys.stderr)
    return CONFIG if isinstance(exc, ConfigError) else FAILED


def expected_in(group: BaseExceptionGroup) -> DeploydError | None:
    """The first expected failure of a group that holds nothing else: tasks that belong together fail as a group."""
    matching, rest = group.split(DeploydError)
    if rest is not None or matching is None:
        return None
    inner: BaseException = matching
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return inner if isinstance(inner, DeploydError) else None
