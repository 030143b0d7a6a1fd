"""What msgspec says of wrong data, in plain words: without its marks, and without regular expressions."""

import re

import msgspec

_FORM = re.compile(r"Expected `str` matching regex '.*'(?: - at `(?P<where>[^`]*)`)?", re.DOTALL)


def plain(exc: msgspec.MsgspecError) -> str:
    """Such as `object missing required field ref`, or `$.after has another form than expected`."""
    said = str(exc)
    if (match := _FORM.fullmatch(said)) is not None:
        return f"{match['where'] or 'the text'} has another form than expected"
    said = said.replace("`", "")
    return f"{said[0].lower()}{said[1:]}" if said else "it cannot be read"
