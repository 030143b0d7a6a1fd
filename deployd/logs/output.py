"""Selects the destination of the daemon's log: systemd's journal if standard error is the journal, else standard error, in
colours on a terminal unless NO_COLOR is set."""

import logging
import os
import sys

from deployd.host.systemd import stderr_is_journal
from deployd.logs.journal import JournalHandler
from deployd.logs.log import LineFormatter, TerminalFormatter


def configure(level: str = "INFO") -> None:
    """Send the daemon's log there; libraries log from WARNING up."""
    handler = JournalHandler() if stderr_is_journal() else logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("deployd").setLevel(level)


def _formatter() -> logging.Formatter:
    if not sys.stderr.isatty():
        return LineFormatter()
    return TerminalFormatter(colours=not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")
