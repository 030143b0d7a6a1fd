import base64
import json
from typing import Any

import pytest

from deployd.recorded import Recorded, parse
from deployd.recording.request import line, parse_datagram, parse_line, without


def datagram(body: bytes, status: int = 200, mark: str = "deployd-request", path: str = "/predict") -> bytes:
    return f"{mark} iris {status} POST {base64.b64encode(body).decode()} {path}\n".encode()


def test_a_datagram_names_the_app_and_its_request() -> None:
    assert parse_datagram(datagram(b'{"instances": [[1.5]]}')) == (
        "iris",
        Recorded("/predict", "POST", {"instances": [[1.5]]}),
    )


@pytest.mark.parametrize(
    "other",
    [
        datagram(b"{}", status=500),
        datagram(b"{}", status=422),
        datagram(b'{"cut off": '),
        datagram(b"\xff"),
        datagram(b"{}", mark="Proxy"),
        b"deployd-request iris 200 POST - /predict",
        b"deployd-request iris 200 POST no*base64 /predict",
        b"Proxy port-8000 started.",
        b"",
    ],
)
def test_a_request_that_failed_or_is_not_json_is_not_kept(other: bytes) -> None:
    assert parse_datagram(other) is None


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ({"email": "a@b", "x": 1}, {"x": 1}),
        ({"user": {"email": "a@b", "age": 3}}, {"user": {"age": 3}}),
        ([{"email": "a@b"}, [{"email": 1, "x": [2]}]], [{}, [{"x": [2]}]]),
        ("email", "email"),
    ],
)
def test_a_field_is_removed_wherever_it_is(body: Any, left: Any) -> None:
    assert without(Recorded("/", "POST", body), {"email"}) == Recorded("/", "POST", left)


def test_a_line_is_one_json_object_that_any_reader_of_requests_understands() -> None:
    request = Recorded("/predict", "POST", {"text": "two\nlines"})
    text = line(request, 7.25)
    assert json.loads(text) == {"at": 7.25, "method": "POST", "path": "/predict", "body": {"text": "two\nlines"}}
    assert text.count(b"\n") == 1
    assert parse(text, "the ring") == [request]
    assert parse_line(text) == request
    assert parse_line(text[:20]) is None
