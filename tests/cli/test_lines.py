from collections.abc import AsyncIterator

from deployd.cli.lines import lines_of


async def test_blocks_become_lines_when_each_is_complete_without_colours() -> None:
    async def blocks() -> AsyncIterator[bytes]:
        for block in (b"one\ntw", "o \x1b[32mgrün".encode()[:-2], b"\xbcn\x1b[0m\n\nend"):
            yield block

    assert [line async for line in lines_of(blocks())] == ["one", "two grün", "", "end"]
