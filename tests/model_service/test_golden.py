"""Golden predictions: how answers are compared, and which files are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from deployd.gates.golden_file import exchanges, parse, schema
from model_service.errors import ModelRejected
from model_service.golden import agrees, check_golden
from model_service.model import Model, load


@pytest.mark.parametrize(
    ("given", "expected", "same"),
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
def test_all_expected_keys_must_be_there_and_equal_within_the_tolerance(given: Any, expected: Any, same: bool) -> None:
    assert agrees(given, expected, 1e-6) is same


def test_the_file_names_its_route_and_has_a_case_for_each_row_and_one_for_all(iris_dir: Path) -> None:
    document = json.loads((iris_dir / "golden.json").read_text())
    assert (document["url"], document["tolerance"]) == ("/predict", 1e-6)
    assert [len(case["request"]["instances"]) for case in document["cases"]] == [1] * 12 + [12]
    labels = {prediction["label"] for case in document["cases"] for prediction in case["response"]["predictions"]}
    assert labels == {"setosa", "versicolor", "virginica"}


def test_the_file_is_one_that_the_deployer_reads(iris_dir: Path) -> None:
    content = (iris_dir / "golden.json").read_bytes()
    Draft202012Validator(schema()).validate(json.loads(content))
    asked = exchanges(parse(content, "golden.json"), "/predict")
    assert [one.name for one in asked][-2:] == ["row 12", "all 12 rows"]


@pytest.fixture(scope="module")
def model(iris_dir: Path) -> Model:
    return load(iris_dir)


def golden_json(rows: Any = ((5.8, 4.0, 1.2, 0.2),), tolerance: str = "1e-6", response: str = "setosa") -> bytes:
    """A golden.json of one case."""
    predictions = f'{{"predictions": [{{"label": "{response}"}}]}}'
    case = f'{{"request": {{"instances": {json.dumps(rows)}}}, "response": {predictions}}}'
    return f'{{"tolerance": {tolerance}, "cases": [{case}]}}'.encode()


def test_the_number_of_correct_cases_is_returned(model: Model) -> None:
    assert check_golden(model, golden_json()) == 1


INVALID = {
    "no cases": (b'{"tolerance": 1e-6, "cases": []}', "proves nothing"),
    "an infinite tolerance": (golden_json(tolerance="Infinity"), "proves nothing"),
    "a tolerance that is not a number": (golden_json(tolerance="NaN"), "proves nothing"),
    "a negative tolerance": (golden_json(tolerance="-1"), "proves nothing"),
    "a tolerance that is too large": (golden_json(tolerance="1" + "0" * 400), "not usable"),
    "no rows": (golden_json(rows=[]), "at least one row"),
    "rows of text": (golden_json(rows=["x"]), "expected a list of 4 numbers"),
    "numbers as text": (golden_json(rows=[["5.8", 4.0, 1.2, 0.2]]), "expected a number"),
    "another number of features": (golden_json(rows=[[1.0, 2.0]]), "expected 4 numbers"),
    "a number too large": (golden_json(rows=[[1e39, 4.0, 1.2, 0.2]]), "within"),
    "a missing value that may not be missing": (golden_json(rows=[[float("nan"), 4.0, 1.2, 0.2]]), "within"),
    "a response without predictions": (golden_json().replace(b'"predictions"', b'"other"'), "no predictions"),
    "another prediction": (golden_json(response="virginica"), "no longer predicts"),
}


@pytest.mark.parametrize(("content", "message"), INVALID.values(), ids=INVALID)
def test_a_file_that_proves_nothing_or_fails_is_refused(model: Model, content: bytes, message: str) -> None:
    with pytest.raises(ModelRejected, match=message):
        check_golden(model, content)


def test_a_model_that_raises_is_refused_with_its_exception(model: Model) -> None:
    class Broken:
        manifest, costly_calls, quick_rows = model.manifest, False, 1

        def predict(self, rows: Any) -> Any:
            raise ZeroDivisionError("by zero")

    with pytest.raises(ModelRejected, match="ZeroDivisionError: by zero"):
        check_golden(Broken(), golden_json())
