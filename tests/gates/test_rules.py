from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.gates.rules import Rule, Rules

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def first(given_: Any, wanted: Any, rules: dict[str, Rule] | None = None, tolerance: float = 1e-6) -> str | None:
    """The first difference, in words."""
    return next((str(found) for found in Rules(rules or {}, tolerance).differences(given_, wanted)), None)


@pytest.mark.slow
@given(json_values)
def test_an_answer_equals_itself(value: Any) -> None:
    assert first(value, value, tolerance=0) is None


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
        (float("nan"), float("nan"), None),
        (float("nan"), 0.0, "$: NaN, expected 0.0"),
        (0.0, float("nan"), "$: 0.0, expected NaN"),
        (None, float("nan"), "$: null, expected NaN"),
        (float("inf"), float("inf"), None),
        (1.0, float("inf"), "$: 1.0, expected Infinity"),
        (10**400, 10**400, None),
        (10**400, 1.5, f"$: 1{'0' * 58}…, expected 1.5"),
        ("x" * 100, "y", f'$: "{"x" * 58}…, expected "y"'),
    ],
)
def test_the_first_difference_is_named_by_its_path(given_: Any, wanted: Any, expected: str | None) -> None:
    assert first(given_, wanted) == expected


NAMES = {"a": 0.5, "b": 0.3, "c": 0.2}


@pytest.mark.parametrize(
    ("rule", "given_", "wanted", "expected"),
    [
        (Rule(absolute=0.1), 1.05, 1.0, None),
        (Rule(absolute=0.1), 1.2, 1.0, "$.x: 1.2, expected 1.0"),
        (Rule(relative=0.01), 101.0, 100.0, None),
        (Rule(relative=0.01), 102.0, 100.0, "$.x: 102.0, expected 100.0"),
        (Rule(relative=0.01), 1e-7, 0.0, None),  # the tolerance for all numbers holds near 0
        (Rule(relative=0.01, absolute=0.0), 1e-7, 0.0, "$.x: 1e-07, expected 0.0"),
        (Rule(ignore=True), "anything", 1.0, None),
        (Rule(set=True), [2, {"b": 1, "a": 2}, 1], [{"a": 2, "b": 1}, 1, 2], None),
        (Rule(set=True), [1, 1, 2], [1, 2, 2], "$.x: lacks 2, has 1"),
        (Rule(set=True), {}, [], "$.x: is not a list"),
        (Rule(top_k=1), {"a": 0.4, "b": 0.35, "c": 0.25}, NAMES, None),
        (Rule(top_k=1), {"a": 0.3, "b": 0.5, "c": 0.2}, NAMES, "$.x: the first 1 are b; expected a"),
        (Rule(top_k=2), {"c": 0.3, "a": 0.5, "b": 0.2}, NAMES, "$.x: the first 2 are a, c; expected a, b"),
        (Rule(top_k=2, absolute=0.15), {"c": 0.3, "a": 0.5, "b": 0.2}, NAMES, None),  # c was within 0.15 of the second
        (Rule(top_k=1), [{"label": "b", "score": 1}], [{"label": "b", "score": 0.9}], None),
        (Rule(top_k=1), [{"label": "b"}], [{"label": "b", "score": 0.9}], "$.x: has no labels with scores"),
        (Rule(top_k=1), {"a": float("nan")}, NAMES, "$.x: has no labels with scores"),
    ],
)
def test_a_rule_says_how_its_values_are_compared(rule: Rule, given_: Any, wanted: Any, expected: str | None) -> None:
    assert first({"x": given_}, {"x": wanted}, {"$.x": rule}) == expected


def test_a_key_whose_value_is_ignored_must_be_there() -> None:
    assert first({}, {"id": 7}, {"$.id": Rule(ignore=True)}) == "$.id: is missing"


def test_the_longest_path_wins_and_then_the_one_with_fewer_stars() -> None:
    rules = {"$.p": Rule(absolute=1), "$.p[*].x": Rule(absolute=0.1), "$.p[1].x": Rule(ignore=True)}
    assert first({"p": [{"x": 0.2, "y": 0.9}]}, {"p": [{"x": 0, "y": 0}]}, rules) == "$.p[0].x: 0.2, expected 0"
    assert first({"p": [{"x": 0, "y": 0.9}, {"x": "?"}]}, {"p": [{"x": 0, "y": 0}, {"x": 0}]}, rules) is None


def test_a_rule_that_names_nothing_is_found() -> None:
    rules = Rules({"$.p[*].x": Rule(absolute=1), "$.q": Rule(ignore=True)}, 0)
    assert rules.unused([{"p": []}, {"p": [{"x": 1}], "q": 1}]) is None
    assert rules.unused([{"p": [{"x": 1}]}]) == "$.q"


@pytest.mark.parametrize(
    "rule",
    [
        Rule(),
        Rule(ignore=True, set=True),
        Rule(absolute=-1),
        Rule(relative=float("inf")),
        Rule(top_k=0),
        Rule(set=True, absolute=1),
    ],
)
def test_a_rule_that_is_none_or_two_is_refused(rule: Rule) -> None:
    with pytest.raises(ValueError, match=r"^\$\.x: "):
        Rules({"$.x": rule}, 0)


def test_a_row_has_the_path_both_values_and_how_far_off_a_number_is() -> None:
    found = next(Rules({}, 0.1).differences({"y": 1.5, "z": 0}, {"y": 1.0, "z": 0}))
    assert found.row() == {"path": "$.y", "got": 1.5, "expected": 1.0, "difference": 0.5, "allowed": 0.1}
    nan = next(Rules({}, 0.1).differences([float("nan")], [[1]]))
    assert nan.row() == {"path": "$[0]", "got": "NaN", "expected": "[1]"}
