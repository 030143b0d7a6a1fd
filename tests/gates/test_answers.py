from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.errors import RolloutFailed
from deployd.gates.answers import difference, parse

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.mark.slow
@given(json_values)
def test_an_answer_equals_itself(value: Any) -> None:
    assert difference(value, value, 0) is None


@pytest.mark.parametrize(
    ("given_", "wanted", "expected"),
    [
        ({"a": [1, {"b": 2.0}]}, {"a": [1, {"b": 2.1}]}, "$.a[1].b: 2.0, expected 2.1"),
        ({"a": 1, "more": 2}, {"a": 1}, None),
        ({}, {"a": 1}, "$.a: is missing"),
        ([1, 2], [1], "$: 2 entries, expected 1"),
        (1, 1.0000001, None),
        (1, 1.01, "$: 1, expected 1.01"),
        (True, 1, "$: true, expected 1"),
        ("1", 1, '$: "1", expected 1'),
        (None, 0, "$: null, expected 0"),
        ([], {}, "$: [], expected {}"),
        (10**400, 10**400, None),
        (10**400, 1.5, f"$: 1{'0' * 58}…, expected 1.5"),
        ("x" * 100, "y", f'$: "{"x" * 58}…, expected "y"'),
    ],
)
def test_the_first_difference_is_named_by_its_path(given_: Any, wanted: Any, expected: str | None) -> None:
    assert difference(given_, wanted, 1e-6) == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a golden file: not JSON at line 1, column 1"),
        (b"[]", "is not a golden file: expected object, got array"),
        (b"1", "is not a golden file: expected object, got int"),
        (b"{}", "is not a golden file: object missing required field cases"),
        (b'{"cases": 1}', "is not a golden file: expected array, got int - at $.cases"),
        (b'{"cases": [{}]}', "is not a golden file: object missing required field request - at $.cases[0]"),
        (b'{"cases": [1]}', "is not a golden file: expected object, got int - at $.cases[0]"),
        (b'{"cases": [], "tolerance": "x"}', "is not a golden file: expected float | null, got str - at $.tolerance"),
        (b'{"cases": []}', "has no cases"),
        (b"\xff", "is not a golden file: not UTF-8 text"),
        (b"[" * 100_000, "is not a golden file: nested too deeply"),
    ],
)
def test_what_is_wrong_with_a_golden_file_is_said_in_plain_words(content: bytes, words: str) -> None:
    with pytest.raises(RolloutFailed) as refused:
        parse(content, "golden.json")
    assert refused.value.message == f"golden.json {words}"


def test_a_golden_file_can_set_url_method_and_tolerance() -> None:
    document = parse(b'{"url": "/p", "tolerance": 0.5, "cases": [{"request": 1, "response": 2}]}', "golden.json")
    assert (document.url, document.method, document.tolerance, len(document.cases)) == ("/p", "POST", 0.5, 1)
