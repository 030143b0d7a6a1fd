"""From bytes to JSON: what is accepted, what is refused, and compressed bodies."""

import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_service.errors import RequestRejected
from model_service.parsing import LARGE_BODY, decompress, parse_json

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@given(value=values)
def test_every_json_value_is_read_as_the_standard_library_reads_it(value: object) -> None:
    for ascii_only in (True, False):
        body = json.dumps(value, ensure_ascii=ascii_only).encode(errors="backslashreplace")
        found = parse_json(body)
        assert found == value
        assert repr(found) == repr(json.loads(body))  # also the same types, and the same zeros


@given(body=st.binary(max_size=30) | st.text('{}[]":,0123456789.eE+-truefalsn\\u ', max_size=30).map(str.encode))
def test_bytes_that_are_not_json_are_refused_and_never_misread(body: bytes) -> None:
    try:
        expected = json.loads(body.decode(), parse_constant=pytest.fail)
    except (ValueError, pytest.fail.Exception):
        with pytest.raises(RequestRejected) as rejected:
            parse_json(body)
        assert rejected.value.status == 400
    else:
        assert repr(parse_json(body)) == repr(expected)


@pytest.mark.parametrize(
    "body",
    [b"[NaN]", b"[1e400]", b'["\\ud800"]', b'["\xff"]', b"[" * 50_000, b"[1" + b"0" * 5000 + b"]"],
    ids=["NaN", "1e400", "lone surrogate", "not UTF-8", "too deep", "endless integer"],
)
def test_a_large_body_with_a_fault_is_refused_with_the_reason(body: bytes) -> None:
    with pytest.raises(RequestRejected, match=r"the body is not JSON: .+") as rejected:
        parse_json(b" " * LARGE_BODY + body)
    assert rejected.value.status == 400


def test_gzip_and_deflate_are_decompressed() -> None:
    assert decompress(gzip.compress(b"text"), b"gzip", 4) == b"text"
    assert decompress(zlib.compress(b"text"), b"Deflate", 4) == b"text"
    assert decompress(b"text", b"identity", 4) == b"text"


@pytest.mark.parametrize(
    ("body", "encoding", "status", "message"),
    [
        (gzip.compress(b"a" * 1001), b"gzip", 413, "larger than 1000 bytes once decompressed"),
        (gzip.compress(b"a" * 10)[:-8], b"gzip", 400, "cut short"),
        (b"text", b"gzip", 400, "the body is not gzip"),
        (b"text", b"br", 415, "expected gzip, deflate or none"),
    ],
    ids=["too large", "cut short", "not compressed", "unknown encoding"],
)
def test_a_compressed_body_with_a_fault_is_refused_with_the_reason(
    body: bytes, encoding: bytes, status: int, message: str
) -> None:
    with pytest.raises(RequestRejected, match=message) as rejected:
        decompress(body, encoding, 1000)
    assert rejected.value.status == status


def test_nan_and_infinity_are_numbers_only_where_they_are_taken() -> None:
    assert repr(parse_json(b"[NaN, -Infinity, 1]", constants=True)) == "[nan, -inf, 1]"
    with pytest.raises(RequestRejected, match="NaN is not a JSON number, send null for a missing value"):
        parse_json(b"[NaN]")
    with pytest.raises(RequestRejected, match=r"Infinity is not a JSON number$"):
        parse_json(b"[Infinity]")
