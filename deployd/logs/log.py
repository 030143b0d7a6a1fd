"""What the daemon itself writes: one line an event on standard error, with the app, deploy and commit in hand.

INFO is a state change, WARNING odd but handled, ERROR needs a person. Fields come from a context variable, so that no call
repeats them. Text from outside (branch names, commit subjects) is escaped: a log line is one line, whatever a push says.
"""

import logging
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_logger = logging.getLogger(__name__)
_fields: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("log_fields", default=())

# C0 and C1 controls, line separators and the bidirectional overrides that can make a line read as another.
_UNPRINTABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def printable(text: str, limit: int = 500) -> str:
    """`text` on one line, without control or direction characters, at most `limit` characters."""
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


class LineFormatter(logging.Formatter):
    """`12:00:01 INFO  Deploy is live  app=iris deploy=42`; under systemd the journal has the time already."""

    def __init__(self, *, with_time: bool) -> None:
        super().__init__()
        self._with_time = with_time

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%H:%M:%S ", time.localtime(record.created)) if self._with_time else ""
        extra = "".join(f" {key}={printable(value)}" for key, value in _fields.get())
        line = f"{stamp}{record.levelname:<7} {printable(record.getMessage(), 2000)}{' ' if extra else ''}{extra}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class DaemonLog:
    """A log for work that belongs to no deploy: its lines go to the daemon's own log. Implements ports.Log."""

    def write(self, text: str) -> None:
        """Say it, a line each."""
        for line in text.splitlines():
            _logger.info("%s", line)

    def hide(self, secret: str) -> None:
        """Nothing that is written here holds a secret."""

    def redact(self, text: str) -> str:
        """As it is."""
        return text

    def tail(self, lines: int = 10) -> str:
        """Nothing is kept."""
        del lines
        return ""


def configure(level: str = "INFO", *, with_time: bool = True) -> None:
    """Send the daemon's log to standard error; libraries speak from WARNING up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(with_time=with_time))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("deployd").setLevel(level)
