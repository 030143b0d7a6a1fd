"""Text that comes in blocks, as lines that a terminal can show."""

import codecs
import re
from collections.abc import AsyncIterator

_STYLE = re.compile(r"\x1b\[[0-9;:]*m")


async def lines_of(blocks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The lines of UTF-8 blocks, as each is complete, without their colours."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    begun = ""
    async for block in blocks:
        *lines, begun = (begun + decoder.decode(block)).split("\n")
        for line in lines:
            yield _STYLE.sub("", line)
    if begun:
        yield _STYLE.sub("", begun)
