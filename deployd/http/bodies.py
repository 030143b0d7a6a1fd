"""Reads request bodies from clients that are not verified yet, with a limit for each body and one for all together.

Does not know the contents. The server limits how long a body may take. Sizes are bytes.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive

from deployd.errors import DeliveryRejected

# A body up to this size is not counted and not worth a thread: the limit on connections bounds the memory of small bodies.
SMALL = 64 * 1024


class Gone(Exception):
    """The client disconnected before its body was complete; nobody waits for an answer."""


class Bodies:
    """All bodies in memory, at most `most_held` bytes at once; small ones do not count."""

    def __init__(self, *, most_held: int) -> None:
        self.held = 0
        self._most_held = most_held

    @asynccontextmanager
    async def read(self, receive: Receive, limit: int) -> AsyncIterator[bytes]:
        """The whole body, kept for the length of the block.

        Raises DeliveryRejected 413 (too large) or 503 (too many large bodies in memory), and Gone.
        """
        chunks: list[bytes] = []
        size, counted, more = 0, 0, True
        try:
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise Gone
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > limit:
                    raise too_large(limit)
                if size > SMALL:
                    self._hold(size - counted)
                    counted = size
                more = message.get("more_body", False)
            body = b"".join(chunks)
            chunks.clear()
            yield body
        finally:
            self.held -= counted

    def _hold(self, size: int) -> None:
        if self.held + size > self._most_held:
            raise DeliveryRejected(
                503, "too many large bodies at once", hint="redeliver it in a moment", retry_after=10
            )
        self.held += size


def too_large(limit: int) -> DeliveryRejected:
    """The error for a body of more than `limit` bytes, announced or received."""
    return DeliveryRejected(413, f"the body is larger than {limit} bytes", hint="max_body in [server] sets the limit")
