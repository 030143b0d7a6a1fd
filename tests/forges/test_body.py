import json
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import DeliveryRejected
from deployd.forges.body import decode

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
_OBJECTS = st.dictionaries(st.text(), _JSON, max_size=5)


@given(_OBJECTS, st.booleans(), st.sampled_from([None, 1]))
def test_every_object_is_read_as_it_was_written(value: dict[str, Any], escaped: bool, indent: int | None) -> None:
    raw = json.dumps(value, ensure_ascii=escaped, indent=indent).encode()
    assert decode(raw, form=False) == decode(raw, form=False, large=True) == value


@given(_OBJECTS)
def test_a_form_holds_what_its_payload_holds(value: dict[str, Any]) -> None:
    raw = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert decode(b"payload=" + quote_plus(raw).encode(), form=True) == value
    assert decode(b"a=b&payload=" + quote(raw, safe="").encode() + b"&c", form=True) == value


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b'{"a":1} x',
        b"[]",
        b"null",
        b'"text"',
        b'{"a":1,"a":1}',
        b'{"x":{"a":1,"b":[{"c":1,"c":2}]}}',
        b'{ "a" : 1, "a" : 2 }',
        b'{"a":1,"\\u0061":2}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":-1e999}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"9" * 21 + b"}",
        b'{"a":' + b"9" * 400 + b".0}",
        b'{"a":"\\ud800"}',
        b'{"\\udfff":1}',
        b'{"a":"\\ud800\\ud800"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xff"}',
        b'{"a":"\xc0\xaf"}',
        b'{"a":"\n"}',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        "{}".encode("utf-16-le"),
        "{}".encode("utf-32"),
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}",
        b"[" * 1_000_000,
        b'{"a":18446744073709551616}',
        b'{"a":-9223372036854775809}',
        b'{"a":01}',
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":1 /* b */}',
    ],
)
@pytest.mark.parametrize("large", [False, True])
def test_what_is_not_one_strict_json_object_is_malformed(raw: bytes, large: bool) -> None:
    for body, form in ((raw, False), (b"payload=" + quote_plus(raw).encode(), True)):
        with pytest.raises(DeliveryRejected) as refused:
            decode(body, form=form, large=large)
        assert refused.value.status == 400


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"payload",
        b"Payload={}",
        b"payload={}&payload={}",
        b"payload=%7B%7D&payload=%7B%7D",
        b"other={}",
        b"payload=%7B%7",
        b"payload=%zz",
        b"payload=%%7B}",
        b"payload={}%",
        b"payload={}%\n",
        b"payload={}%\r\n%",
        b"payload=%\r%%7B\n{}",
        b"payload={}" + b"&a=b" * 16,
        b"&" * 1_000_000,
        urlencode({"payload": "{} {}"}).encode(),
    ],
)
def test_a_form_without_exactly_one_good_payload_is_malformed(raw: bytes) -> None:
    with pytest.raises(DeliveryRejected) as refused:
        decode(raw, form=True)
    assert refused.value.status == 400


@pytest.mark.parametrize("large", [False, True])
def test_a_surrogate_pair_is_one_character(large: bool) -> None:
    assert decode(b'{"a":"\\ud83d\\ude00"}', form=False, large=large) == {"a": "\N{GRINNING FACE}"}


@given(st.binary(max_size=200) | st.text('{}[]":,\\ud80eE9.-NaInfty ', max_size=40).map(str.encode), st.booleans())
def test_no_bytes_break_the_reading_and_size_makes_no_difference(raw: bytes, form: bool) -> None:
    assert _read(raw, form=form, large=False) == _read(raw, form=form, large=True)


def _read(raw: bytes, *, form: bool, large: bool) -> dict[str, Any] | int:
    try:
        return decode(raw, form=form, large=large)
    except DeliveryRejected as exc:
        assert exc.status == 400  # noqa: PT017 - either is fine here, if it is one of the two
        return exc.status
