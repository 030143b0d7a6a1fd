"""The terminal of a person at a command that runs elsewhere: what they type, and how large their window is."""

import asyncio
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a window, in characters."""

    rows: int
    columns: int


class Terminal:
    """What has been typed and is not read yet, in order with the changes of the size. The size at the beginning comes first."""

    def __init__(self, size: Size) -> None:
        self._happened: asyncio.Queue[bytes | Size] = asyncio.Queue()
        self.put(size)

    def put(self, what: bytes | Size) -> None:
        """Something was typed, or the window has another size."""
        self._happened.put_nowait(what)

    async def next(self) -> bytes | Size:
        """What happened next."""
        return await self._happened.get()
