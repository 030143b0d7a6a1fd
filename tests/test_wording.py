from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta, Struct

from deployd.wording import plain


class Event(Struct):
    ref: str
    after: Annotated[str, Meta(pattern=r"\A[0-9a-f]+\Z")]


@pytest.mark.parametrize(
    ("raw", "kind", "words"),
    [
        (b"{}", Event, "object missing required field ref"),
        (b'{"ref": 5}', Event, "expected str, got int - at $.ref"),
        (b'{"ref": "x", "after": "`xyz"}', Event, "$.after has another form than expected"),
        (b'"xyz"', Annotated[str, Meta(pattern="^a`$")], "the text has another form than expected"),
        (b"{", Event, "input data was truncated"),
    ],
)
def test_a_decoding_error_is_told_without_marks_and_regular_expressions(raw: bytes, kind: Any, words: str) -> None:
    with pytest.raises(msgspec.DecodeError) as wrong:
        msgspec.json.decode(raw, type=kind)
    assert plain(wrong.value) == words
