"""Where the daemon's log goes: to systemd's journal where standard error is the journal, else to standard error."""

import logging
import sys

from deployd.host.systemd import stderr_is_journal
from deployd.logs.journal import JournalHandler
from deployd.logs.log import LineFormatter


def configure(level: str = "INFO") -> None:
    """Send the daemon's log there; libraries log from WARNING up."""
    handler = JournalHandler() if stderr_is_journal() else logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("deployd").setLevel(level)
