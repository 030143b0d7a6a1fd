"""Golden predictions: what agrees with what, and a file that explains itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from model_service.errors import ModelRejected
from model_service.golden import agrees, check_golden
from model_service.model import Model, load


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


@pytest.fixture(scope="module")
def model(iris_dir: Path) -> Model:
    return load(iris_dir)


def golden(rows: Any = ((5.8, 4.0, 1.2, 0.2),), tolerance: str = "1e-6", response: str = "setosa") -> bytes:
    """A golden.json of one case."""
    said = f'{{"predictions": [{{"label": "{response}"}}]}}'
    case = f'{{"request": {{"instances": {json.dumps(rows)}}}, "response": {said}}}'
    return f'{{"tolerance": {tolerance}, "cases": [{case}]}}'.encode()


def test_a_right_case_is_counted(model: Model) -> None:
    assert check_golden(model, golden()) == 1


WORTHLESS = {
    "no cases": (b'{"tolerance": 1e-6, "cases": []}', "proves nothing"),
    "an infinite tolerance": (golden(tolerance="Infinity"), "proves nothing"),
    "a tolerance that is no number": (golden(tolerance="NaN"), "proves nothing"),
    "a negative tolerance": (golden(tolerance="-1"), "proves nothing"),
    "a tolerance beyond all numbers": (golden(tolerance="1" + "0" * 400), "not usable"),
    "no rows": (golden(rows=[]), "at least one row"),
    "rows of text": (golden(rows=["x"]), "expected a list of 4 numbers"),
    "numbers as text": (golden(rows=[["5.8", 4.0, 1.2, 0.2]]), "expected a number"),
    "another width": (golden(rows=[[1.0, 2.0]]), "expected 4 numbers"),
    "a number too large": (golden(rows=[[1e39, 4.0, 1.2, 0.2]]), "within"),
    "a missing value that may not be missing": (golden(rows=[[float("nan"), 4.0, 1.2, 0.2]]), "within"),
    "a response that asks for nothing": (golden().replace(b'"predictions"', b'"other"'), "no predictions"),
    "another answer": (golden(response="virginica"), "no longer answers"),
}


@pytest.mark.parametrize(("content", "said"), WORTHLESS.values(), ids=WORTHLESS)
def test_what_proves_nothing_is_refused(model: Model, content: bytes, said: str) -> None:
    with pytest.raises(ModelRejected, match=said):
        check_golden(model, content)


def test_a_model_that_fails_is_refused_with_what_it_raised(model: Model) -> None:
    class Broken:
        manifest, per_call, quick_rows = model.manifest, False, 1

        def answers(self, rows: Any) -> Any:
            raise ZeroDivisionError("by zero")

    with pytest.raises(ModelRejected, match="ZeroDivisionError: by zero"):
        check_golden(Broken(), golden())
