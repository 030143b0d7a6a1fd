"""The daemon's own log: one line per event, with app, deploy and commit as fields.

INFO is a state change, WARNING is odd but handled, ERROR needs a person. Fields come from a context variable, so that no call
repeats them. Text from outside (branch names, commit subjects) is escaped, so that it cannot forge a line.
"""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_logger = logging.getLogger(__name__)
_fields: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("log_fields", default=())

# C0 and C1 controls, line separators and the bidirectional overrides that can make a line read as another.
_UNPRINTABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: str, limit: int = 500) -> str:
    """`text` on one line, its control and direction characters escaped, cut at `limit` characters."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return cut if cut.isprintable() else _UNPRINTABLE.sub(lambda match: f"\\u{ord(match.group()):04x}", cut)


@contextmanager
def fields(**values: object) -> Iterator[None]:
    """Add fields to every log line written inside, in this task and the tasks it starts."""
    token = _fields.set(_fields.get() + tuple((key, str(value)) for key, value in values.items()))
    try:
        yield
    finally:
        _fields.reset(token)


def context() -> tuple[tuple[str, str], ...]:
    """The fields of this task."""
    return _fields.get()


class LineFormatter(logging.Formatter):
    """`12:00:01 INFO  Deploy is live  app=iris deploy=42`."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%H:%M:%S ", time.localtime(record.created))
        extra = "".join(f" {key}={printable(value)}" for key, value in _fields.get())
        line = f"{stamp}{record.levelname:<7} {printable(record.getMessage(), 2000)}{' ' if extra else ''}{extra}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class DaemonLog:
    """Implements ports.Log for work that belongs to no deploy: its lines go to the daemon's own log."""

    def write(self, text: str) -> None:
        """Log each line."""
        for line in text.splitlines():
            _logger.info("%s", line)

    def hide(self, secret: str) -> None:
        """Nothing to do: such work uses no secrets."""

    def redact(self, text: str) -> str:
        """`text` unchanged."""
        return text

    def tail(self, lines: int = 10) -> str:
        """Always empty: no lines are kept."""
        del lines
        return ""
