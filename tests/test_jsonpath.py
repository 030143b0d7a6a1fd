from typing import Any

import pytest

from deployd.jsonpath import Pattern, shown

ANSWER = {"p": [{"label": "a", "x": {"a": 1, "b.c": 2}}, {"label": "b"}], "n": None}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", [ANSWER]),
        ("$.p[*].label", ["a", "b"]),
        ("$.p[1].label", ["b"]),
        ("$.p[0].x.*", [1, 2]),
        ("$.p[0].x['b.c']", [2]),
        ("$.n", [None]),
        ("$.p[2]", []),
        ("$.p.label", []),
        ("$.n.x[0]", []),
    ],
)
def test_a_path_finds_every_value_that_it_names(path: str, found: list[Any]) -> None:
    assert list(Pattern(path).found(ANSWER)) == found


@pytest.mark.parametrize("text", ["", "p", "$p", "$.", "$[", "$[x]", "$..a", "$.a[?(@.b)]", "$.a[-1]"])
def test_an_invalid_path_is_refused_with_a_message(text: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        Pattern(text)


def test_a_path_covers_what_lies_below_it() -> None:
    pattern = Pattern("$.p[*]")
    assert pattern.covers(("p", 0, "x", "a"))
    assert not pattern.names(("p", 0, "x", "a"))
    assert pattern.names(("p", 0))
    assert not pattern.covers(("p",))
    assert not pattern.covers(("p", "0"))


def test_a_path_is_shown_as_it_is_written() -> None:
    path = ("p", 0, "x", "b.c")
    assert shown(path) == "$.p[0].x['b.c']"
    assert Pattern(shown(path)).names(path)
