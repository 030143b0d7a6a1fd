"""Colours are read as programs print them, and spelled in one way."""

from collections.abc import AsyncIterator

import pytest

from deployd.logs.sgr import changed, plain, spelled, without_colours

READ = {
    "": "0",
    "0": "0",
    "1;31": "0;1;31",
    "01;031": "0;1;31",
    "91": "0;91",
    "1;3;4;7;9": "0;1;3;4;7;9",
    "38;5;208": "0;38;5;208",
    "48;2;1;2;3": "0;48;2;1;2;3",
    "38:5:208": "0;38;5;208",
    "38:2::1:2:3": "0;38;2;1;2;3",
    "38:2:1:2:3;1": "0;1;38;2;1;2;3",
    "4:3": "0;4",
    "21": "0;4",
    "58;5;9;31": "0;31",
    "5;8;31": "0;31",
    "38;5;256": "0",
    "38;2;1;2": "0",
    "38": "0",
    "38;7;31": "0;31",
    "999;32": "0;32",
    "123456789": "0",
    "1;0;32": "0;32",
    "1;;32": "0;32",
}


@pytest.mark.parametrize(("printed", "kept"), READ.items(), ids=READ)
def test_a_sequence_is_read_as_terminals_read_it(printed: str, kept: str) -> None:
    assert spelled(changed({}, printed)) == f"\x1b[{kept}m"


OFF = {
    "22": "3;4;7;9;31;42",
    "23": "1;2;4;7;9;31;42",
    "24": "1;2;3;7;9;31;42",
    "4:0": "1;2;3;7;9;31;42",
    "27": "1;2;3;4;9;31;42",
    "29": "1;2;3;4;7;31;42",
    "39": "1;2;3;4;7;9;42",
    "49": "1;2;3;4;7;9;31",
}


@pytest.mark.parametrize(("off", "left"), OFF.items(), ids=OFF)
def test_switching_one_style_off_leaves_the_others(off: str, left: str) -> None:
    assert spelled(changed(changed({}, "1;2;3;4;7;9;31;42"), off)) == f"\x1b[0;{left}m"


def test_plain_text_has_no_sequences() -> None:
    assert plain("a\x1b[0;1;31mred\x1b[0m b") == "ared b"


async def test_colours_are_taken_out_of_blocks_wherever_they_are_cut() -> None:
    text = "a \x1b[0;1;31mréd\x1b[0m\nb\n".encode()
    for cut in range(len(text)):

        async def blocks(at: int = cut) -> AsyncIterator[bytes]:
            yield text[:at]
            yield text[at:]

        assert b"".join([block async for block in without_colours(blocks())]) == "a réd\nb\n".encode()
