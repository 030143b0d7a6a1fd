"""systemd's journal: each entry has a priority, and the app, the deploy and the commit as fields of their own.

Speaks the journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram holds one entry. So `journalctl -p err`
finds what needs a person, and `journalctl DEPLOYD_APP=iris` what concerns one app.
"""

import logging
import socket
import sys
from collections.abc import Mapping

from deployd.logs.log import context, printable

SOCKET = "/run/systemd/journal/socket"

_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
)
_DEBUG = 7
_LONGEST = 48 * 1024  # bytes of a value: a datagram must stay below the socket's buffer


def entry(fields: Mapping[str, str]) -> bytes:
    """One entry of the native protocol."""
    return b"".join(_field(name, value) for name, value in fields.items())


def priority_of(level: int) -> int:
    """The journal's number for a level of logging."""
    return next((priority for least, priority in _PRIORITIES if level >= least), _DEBUG)


class JournalHandler(logging.Handler):
    """Sends every record to the journal; to standard error, with its priority, when the journal does not take it."""

    def __init__(self, address: str = SOCKET) -> None:
        super().__init__()
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        values = context()
        extra = "".join(f" {key}={printable(value)}" for key, value in values)
        text = printable(record.getMessage(), 2000) + (f" {extra}" if extra else "")
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        priority = priority_of(record.levelno)
        fields = {"MESSAGE": text, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": "deployd", "LOGGER": record.name}
        fields |= {f"DEPLOYD_{key.upper()}": value for key, value in values}
        try:
            self._socket.sendto(entry(fields), self._address)
        except OSError:
            sys.stderr.write("".join(f"<{priority}>{line}\n" for line in text.splitlines()))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()


def _field(name: str, value: str) -> bytes:
    """`NAME=value`, or with the length first where the value has several lines."""
    data = value.encode("utf-8", "replace")[:_LONGEST]
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
