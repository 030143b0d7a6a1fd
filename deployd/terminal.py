"""A person's terminal for a command that runs elsewhere: their input and the size of their window."""

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a window, in characters."""

    rows: int
    columns: int


class Terminal:
    """A queue of typed bytes and changes of the size, in order. The initial size comes first."""

    def __init__(self, size: Size) -> None:
        self._happened: asyncio.Queue[bytes | Size] = asyncio.Queue()
        self.put(size)

    def put(self, what: bytes | Size) -> None:
        """Add typed bytes, or the window's new size."""
        self._happened.put_nowait(what)

    async def next(self) -> bytes | Size:
        """Wait for the next typed bytes or change of the size."""
        return await self._happened.get()
