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
    """All bodies in memory, at most `most` bytes at once; small ones do not count."""

    def __init__(self, *, most: int) -> None:
        self.size = 0
        self._most = most

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
                    self._count(size - counted)
                    counted = size
                more = message.get("more_body", False)
            body = b"".join(chunks)
            chunks.clear()
            yield body
        finally:
            self.size -= counted

    def _count(self, size: int) -> None:
        if self.size + size > self._most:
            raise DeliveryRejected(
                503, "too many large bodies at once", hint="redeliver it in a moment", retry_after=10
            )
        self.size += size


def too_large(limit: int) -> DeliveryRejected:
    """The error for a body of more than `limit` bytes, announced or received."""
    return DeliveryRejected(413, f"the body is larger than {limit} bytes", hint="max_body in [server] sets the limit")
