"""Reading a request's body from someone nobody has vouched for: bounded in size, and in all bodies together.

Knows nothing of what is in them; how long one may take is the server's to say. Sizes are bytes.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from deployd.errors import DeliveryRejected

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

# Up to here a body is neither counted nor worth a thread: the number of open connections bounds what such bodies hold.
SMALL = 64 * 1024


class Gone(Exception):
    """The client hung up before its body was complete; there is nobody to answer."""


class Bodies:
    """All the bodies that are being read, `held` bytes of them at most `most_held` at once."""

    def __init__(self, *, most_held: int) -> None:
        self._most_held = most_held
        self._held = 0

    async def read(self, receive: Receive, limit: int) -> bytes:
        """The whole body. DeliveryRejected 413, or 503 when too many large ones are held; Gone.

        One of more than SMALL bytes counts as held until it is given to `release`.
        """
        chunks: list[bytes] = []
        size, more = 0, True
        try:
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise Gone
                chunk = message.get("body", b"")
                self._count(size, size + len(chunk), limit)
                size += len(chunk)
                chunks.append(chunk)
                more = message.get("more_body", False)
        finally:
            if more:
                self._release(size)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def release(self, body: bytes) -> None:
        """Give back what `read` counted for `body`."""
        self._release(len(body))

    def _count(self, before: int, after: int, limit: int) -> None:
        if after > limit:
            raise too_large(limit)
        if after <= SMALL:
            return
        growth = after - (before if before > SMALL else 0)
        if self._held + growth > self._most_held:
            raise DeliveryRejected(
                503, "too many large bodies at once", hint="redeliver it in a moment", retry_after=10
            )
        self._held += growth

    def _release(self, size: int) -> None:
        if size > SMALL:
            self._held -= size


def too_large(limit: int) -> DeliveryRejected:
    """For a body of more than `limit` bytes, announced or received."""
    return DeliveryRejected(413, f"the body is larger than {limit} bytes", hint="max_body in [server] sets the limit")
