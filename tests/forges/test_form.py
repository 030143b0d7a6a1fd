from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import DeliveryRejected
from deployd.forges.form import payload


@given(st.binary())
def test_a_form_payload_is_decoded_unchanged(value: bytes) -> None:
    assert payload(b"payload=" + quote_plus(value).encode()) == value
    assert payload(b"a=b&payload=" + quote(value, safe="").encode() + b"&c") == value


@pytest.mark.parametrize(
    "raw",
    [
        b"",
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
    ],
)
def test_a_form_without_exactly_one_valid_payload_is_malformed(raw: bytes) -> None:
    with pytest.raises(DeliveryRejected) as refused:
        payload(raw)
    assert refused.value.status == 400


@pytest.mark.slow
@given(st.binary(max_size=200) | st.text("payload=%&+7Bzx\n\r", max_size=40).map(str.encode))
def test_no_bytes_break_the_parser(raw: bytes) -> None:
    try:
        assert isinstance(payload(b"payload=" + raw), bytes)
    except DeliveryRejected as exc:
        assert exc.status == 400  # noqa: PT017 - either is fine here, if it is one of the two
