import pytest

from deployd.errors import RolloutFailed
from deployd.recorded import Recorded, parse


def test_each_line_is_a_request_and_more_keys_are_allowed() -> None:
    content = b'{"method": "PUT", "path": "/a?b=c", "body": [1], "at": 1.5}\n\n{"path": "/b"}\n'
    assert parse(content, "r.jsonl") == [Recorded("/a?b=c", "PUT", [1]), Recorded("/b")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "r.jsonl, line 2: not JSON"),
        (b"1", "r.jsonl, line 2: expected object, got int"),
        (b"{}", "r.jsonl, line 2: object missing required field path"),
        (b'{"path": "b"}', "r.jsonl, line 2: the path must begin with /"),
    ],
)
def test_a_wrong_line_is_named(line: bytes, message: str) -> None:
    with pytest.raises(RolloutFailed) as refused:
        parse(b'{"path": "/"}\n' + line, "r.jsonl")
    assert refused.value.message == message
