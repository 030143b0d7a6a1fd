"""Colours and styles of text, as terminals are told them (SGR, `ESC [ … m`), and the one way in which a log spells them. Pure.

In a log each sequence says the whole style from there on, and each line begins and ends without one. So any part of a log can be
shown by itself, and cut at any line.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from itertools import islice

SEQUENCE = re.compile("\x1b\\[([0-9;:]*)m")
RESET = "\x1b[0m"

_SPELLED = re.compile(rb"\x1b\[[0-9;]*m")
_CUT = re.compile(rb"\x1b(?:\[[0-9;]*)?\Z")

# The attributes of a style, in the order in which they are written.
_PARTS = ("bold", "faint", "italic", "underline", "reverse", "strike", "colour", "background")
# Hidden text (8) and blinking (5, 6) are left out: a log shows all that it holds, and it holds still.
_ON = {1: "bold", 2: "faint", 3: "italic", 4: "underline", 7: "reverse", 9: "strike", 21: "underline"}
_OFF = {
    22: ("bold", "faint"),
    23: ("italic",),
    24: ("underline",),
    27: ("reverse",),
    29: ("strike",),
    39: ("colour",),
    49: ("background",),
}
_VALUES = {"5": 1, "2": 3}
_EXTENDED = {38: "colour", 48: "background", 58: ""}

Style = dict[str, str]


def spelled(style: Style) -> str:
    """The sequence that sets exactly this style."""
    return f"\x1b[{';'.join(['0', *(style[part] for part in _PARTS if part in style)])}m"


def plain(text: str) -> str:
    """`text` without its colours."""
    return SEQUENCE.sub("", text) if "\x1b" in text else text


async def without_colours(blocks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The blocks of a log without its colours."""
    rest = b""
    async for block in blocks:
        rest += block
        cut = found.start() if (found := _CUT.search(rest)) else len(rest)
        if shown := _SPELLED.sub(b"", rest[:cut]):
            yield shown
        rest = rest[cut:]
    if rest:
        yield rest


def changed(style: Style, parameters: str) -> Style:
    """`style` after a sequence with these parameters; unknown ones are ignored."""
    found = dict(style)
    numbers = iter(parameters.split(";"))
    for number in numbers:
        main, _, more = number.partition(":")
        code = int(main or 0) if len(main) < 4 else -1
        if code == 0:
            found.clear()
        elif code in _ON:
            found.update({_ON[code]: str(code if code != 21 else 4)})
            if code == 4 and more == "0":
                del found["underline"]
        elif code in _EXTENDED:
            _extend(found, code, more, numbers)
        else:
            _set_or_end(found, code)
    return found


def _set_or_end(style: Style, code: int) -> None:
    for part in _OFF.get(code, ()):
        style.pop(part, None)
    if 30 <= code <= 37 or 90 <= code <= 97:
        style["colour"] = str(code)
    elif 40 <= code <= 47 or 100 <= code <= 107:
        style["background"] = str(code)


def _extend(style: Style, code: int, more: str, numbers: Iterator[str]) -> None:
    """A colour of 256 (`38;5;n`) or of all (`38;2;r;g;b`), also with colons, and there with the number of a colour space."""
    if more:
        kind, *values = more.split(":")
        values = values[-3:] if kind == "2" else values[:1]
    else:
        kind = next(numbers, "")
        values = list(islice(numbers, _VALUES.get(kind, 0)))
    part = _EXTENDED[code]
    if part and len(values) == _VALUES.get(kind) and all(len(value) < 4 and int(value or 0) < 256 for value in values):
        style[part] = ";".join([str(code), kind, *(str(int(value or 0)) for value in values)])
