"""The transport as uvicorn sees it, in front of the real one.

uvicorn writes an answer's head and its body apart, which would be two system calls and two packets: what is written in one
turn of the event loop leaves as one.
"""

import asyncio
from collections.abc import Callable

_SMALL = 4096
_MOST_HELD = 16


class Front:
    """Writes together what belongs together, and leaves it to the protocol how to close."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        close: Callable[[], None],
        is_closing: Callable[[], bool],
    ) -> None:
        self.close = close
        self.is_closing = is_closing
        self._loop = loop
        self._write: Callable[[bytes], None] = transport.write
        self._is_over = transport.is_closing
        self._held: list[bytes] = []
        for name in ("get_extra_info", "pause_reading", "resume_reading", "set_protocol"):
            setattr(self, name, getattr(transport, name))

    def write(self, data: bytes) -> None:
        """Hold what is small and little; more may have to make the application wait, and leaves at once."""
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)
        if len(data) > _SMALL or len(self._held) == _MOST_HELD:
            self.flush()

    def flush(self) -> None:
        """Let go of what is held; of a client that has gone meanwhile, nothing."""
        if self._held:
            held, self._held = self._held, []
            if not self._is_over():
                self._write(b"".join(held))

    def mute(self) -> None:
        """From now on an application's answer goes nowhere: it comes after the last word."""
        self.flush()
        self._write = _nothing


def _nothing(_: bytes) -> None:
    """Where it goes then."""
