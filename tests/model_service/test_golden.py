"""Golden predictions: what agrees with what, and a file that explains itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from model_service.golden import agrees


@pytest.mark.parametrize(
    ("given", "wanted", "same"),
    [
        ({"a": 1.0, "more": 2}, {"a": 1.0}, True),
        ({"a": 1.0 + 1e-7}, {"a": 1.0}, True),
        ({"a": 1.0 + 1e-5}, {"a": 1.0}, False),
        ({}, {"a": 1.0}, False),
        ([1.0], [1.0, 2.0], False),
        ([{"label": "x"}], [{"label": "x"}], True),
        ([{"label": "x"}], [{"label": "y"}], False),
        (1, True, False),
        ("1", 1.0, False),
        (None, 1.0, False),
        (1, 1.0, True),
    ],
)
def test_what_is_named_must_be_there_and_equal_within_the_tolerance(given: Any, wanted: Any, same: bool) -> None:
    assert agrees(given, wanted, 1e-6) is same


def test_the_file_names_its_route_and_holds_single_rows_and_all_together(iris_dir: Path) -> None:
    document = json.loads((iris_dir / "golden.json").read_text())
    assert (document["url"], document["tolerance"]) == ("/predict", 1e-6)
    assert [len(case["request"]["instances"]) for case in document["cases"]] == [1] * 12 + [12]
    labels = {one["label"] for case in document["cases"] for one in case["response"]["predictions"]}
    assert labels == {"setosa", "versicolor", "virginica"}
