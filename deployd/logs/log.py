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


_DIM = "2"
_STYLES = ((logging.ERROR, "1;31"), (logging.WARNING, "33"), (logging.INFO, ""))  # from a level on


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
    """`2026-11-27T12:00:01Z INFO    iris/42 is live  app=iris deploy=42`: for a file, or whoever collects lines."""

    def format(self, record: logging.LogRecord) -> str:
        line = self._line(record, printable(record.getMessage(), 2000), _fields.get())
        return line + "\n" + self.formatException(record.exc_info) if record.exc_info else line

    def _line(self, record: logging.LogRecord, message: str, values: tuple[tuple[str, str], ...]) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        extra = "".join(f" {key}={printable(value)}" for key, value in values)
        return f"{stamp} {record.levelname:<7} {message}{' ' if extra else ''}{extra}"


class TerminalFormatter(LineFormatter):
    """`12:00:01 iris/42 is live  app=iris deploy=42`, in the local time, for a person at a terminal: what is usual is dim, what
    is not has its level and a colour. Without `colours` a level says it all."""

    def __init__(self, *, colours: bool) -> None:
        super().__init__()
        self._colours = colours

    def _line(self, record: logging.LogRecord, message: str, values: tuple[tuple[str, str], ...]) -> str:
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        extra = "".join(f" {key}={printable(value)}" for key, value in values)
        style = next((style for least, style in _STYLES if record.levelno >= least), _DIM)
        said = self._in(style, f"{level}{message}") if style else message
        return f"{self._in(_DIM, stamp)} {said}{self._in(_DIM, f' {extra}') if extra else ''}"

    def _in(self, style: str, text: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colours else text


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
