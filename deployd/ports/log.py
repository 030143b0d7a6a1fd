"""The log of a deploy, as everything that writes into it sees it."""

from typing import Protocol


class Log(Protocol):
    """The log of one deploy."""

    def write(self, text: str) -> None:
        """Append `text`, with its own line ends; redacted, capped and flushed at once. Never blocks for long."""
        ...

    def hide(self, secret: str) -> None:
        """Mask `secret` from now on, in every usual encoding. Call it before a secret is used for the deploy."""
        ...

    def redact(self, text: str) -> str:
        """`text` with the same secrets masked, for what is stored outside the log."""
        ...

    def tail(self, lines: int = 10) -> str:
        """The last lines of the log, for the hint of an error."""
        ...


class MarkedLog(Log, Protocol):
    """A log whose positions can be marked."""

    def mark(self) -> int:
        """End the line that is under way; the byte at which the next one begins."""
        ...
