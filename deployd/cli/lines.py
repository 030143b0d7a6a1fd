"""Text that comes in blocks, as lines that a terminal can show."""

import codecs
from collections.abc import AsyncIterator

from deployd.logs.sgr import plain


async def lines_of(blocks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The lines of UTF-8 blocks, as each is complete, without their colours."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    begun = ""
    async for block in blocks:
        *lines, begun = (begun + decoder.decode(block)).split("\n")
        for line in lines:
            yield plain(line)
    if begun:
        yield plain(begun)
