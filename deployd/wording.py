"""Plain words for a person: numbers with their nouns, and what msgspec says of wrong data, without its marks and expressions."""

import re

import msgspec

_FORM = re.compile(r"Expected `str` matching regex '.*'(?: - at `(?P<where>[^`]*)`)?", re.DOTALL)


def plain(exc: msgspec.MsgspecError) -> str:
    """The error in plain words, such as `object missing required field ref` or `$.after has another form than expected`."""
    said = str(exc)
    if (match := _FORM.fullmatch(said)) is not None:
        return f"{match['where'] or 'the text'} has another form than expected"
    said = said.replace("`", "")
    return f"{said[0].lower()}{said[1:]}" if said else "it cannot be read"


def by_hand(done: str, by: str | None) -> str:
    """Text such as `cancelled by hand by ada`; without the name where it is not known."""
    return f"{done} by hand" + (f" by {by}" if by else "")


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as `1 request` or `1,204 requests`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
