"""Reading a request's body from a client that nobody has vouched for: bounded in size, and in all bodies together.

Knows nothing of what is in them; how long one may take is the server's to say. Sizes are bytes.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive

from deployd.errors import DeliveryRejected

# Up to here a body is neither counted nor worth a thread: the number of open connections bounds what such bodies hold.
SMALL = 64 * 1024


class Gone(Exception):
    """The client hung up before its body was complete; there is nobody to answer."""


class Bodies:
    """All the bodies that are held, at most `most_held` bytes of them at once; small ones do not count."""

    def __init__(self, *, most_held: int) -> None:
        self.held = 0
        self._most_held = most_held

    @asynccontextmanager
    async def read(self, receive: Receive, limit: int) -> AsyncIterator[bytes]:
        """The whole body, held for the length of the block. DeliveryRejected 413, or 503 when too much is held; Gone."""
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
    """For a body of more than `limit` bytes, announced or received."""
    return DeliveryRejected(413, f"the body is larger than {limit} bytes", hint="max_body in [server] sets the limit")
