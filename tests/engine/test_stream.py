import pytest

from deployd.engine.stream import Message, fault_in


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"stream": "Step 1/3 : FROM x"}, ""),
        ({"error": "no space left"}, "no space left"),
        ({"errorDetail": {"message": "denied"}}, "denied"),
        ({"errorDetail": {"code": 2, "message": "RUN returned 2"}, "error": "older words"}, "RUN returned 2"),
        ({"errorDetail": {}, "error": "denied: no push\n"}, "denied: no push"),
        ({"errorDetail": None}, "the engine gives no reason"),
        ({"error": ""}, "the engine gives no reason"),
    ],
)
def test_the_reason_of_a_failure_is_found_in_either_field(message: Message, said: str) -> None:
    assert fault_in(message) == said
