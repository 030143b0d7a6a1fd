"""Golden predictions: requests and the predictions that they must get. Training writes them (`golden.json`).

POST each case's `request` to `url`: every key in its `response` must come back with that value, numbers within `tolerance`
(absolute). Other keys may have any value. The service checks the file before it becomes ready, and a deployer can check it
again over HTTP.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

from model_service.columns import to_json
from model_service.errors import ModelRejected, RequestRejected, TrainingFailed
from model_service.model import Model, Row
from model_service.rows import RowReader

FILE = "golden.json"
TOLERANCE = 1e-6
CASES = 12
MAX_ROWS = 10_000
EXAMPLES = 3


def golden_rows(model: Model, held_back: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """Rows of the data for the cases: some that were held back, and else some of the others. The model must have an answer.

    Rows that differ from each other in where values are missing come first.
    """
    by_gaps: dict[tuple[bool, ...], Row] = {}
    for row in held_back:
        by_gaps.setdefault(tuple(to_json(value) is None for value in row), row)
    first = list(by_gaps.values())[: CASES // 2]
    rest = [row for row in held_back if not any(row is one for one in first)]
    found: list[Row] = []
    for row in (*first, *rest, *others):
        try:
            model.predict([row])
        except RequestRejected:
            continue
        found.append(row)
        if len(found) == CASES:
            break
    if not found:
        raise TrainingFailed("the model refuses every row of the data")
    return found


def golden_document(model: Model, rows: Sequence[Row]) -> dict[str, Any]:
    """The content of golden.json: one case for each row, and one case for all rows together."""
    predictions = [json.loads(prediction.json) for prediction in model.predict(rows)]
    instances = [[to_json(value) for value in row] for row in rows]
    cases = [
        {
            "name": f"row {number}",
            "request": {"instances": [row]},
            "response": {"predictions": [prediction]},
        }
        for number, (row, prediction) in enumerate(zip(instances, predictions, strict=True), start=1)
    ]
    every = {"request": {"instances": instances}, "response": {"predictions": predictions}}
    cases.append({"name": f"all {len(rows)} rows", **every})
    return {"url": "/predict", "method": "POST", "tolerance": TOLERANCE, "cases": cases}


def check_golden(model: Model, content: bytes) -> int:
    """Checks all cases of the file with a loaded model; the number of cases. Raises ModelRejected at the first difference."""
    try:
        document = json.loads(content)
        cases = [(case["request"], case["response"]) for case in document["cases"]]
        tolerance = float(document["tolerance"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as exc:
        raise ModelRejected(f"{FILE} is not usable: {exc!r}") from exc
    if not cases or not 0 <= tolerance < math.inf:
        raise ModelRejected(f"{FILE} proves nothing: expected at least one case and a finite tolerance")
    reader = RowReader(model.manifest, max_rows=MAX_ROWS)
    for i, (request, response) in enumerate(cases):
        predictions = _predict(model, reader, request, f"{FILE}, case {i}")
        if not isinstance(response, dict) or not response.get("predictions"):
            raise ModelRejected(f"{FILE}, case {i}: the response has no predictions")
        if not agrees({"predictions": predictions}, response, tolerance):
            raise ModelRejected(f"{FILE}, case {i}: the model no longer predicts what it predicted when it was trained")
    return len(cases)


def example_rows(content: bytes) -> list[Any]:
    """Some rows of the cases of a checked file, to show people."""
    requests = [case["request"]["instances"] for case in json.loads(content)["cases"]]
    return [rows[0] for rows in requests[:EXAMPLES]]


def _predict(model: Model, reader: RowReader, request: Any, where: str) -> list[Any]:
    try:
        return [json.loads(prediction.json) for prediction in model.predict(reader.read(request, "instances"))]
    except RequestRejected as exc:
        raise ModelRejected(f"{where}: {exc.message}") from exc
    except Exception as exc:  # a damaged model may raise anything
        raise ModelRejected(f"{where}: the model fails: {type(exc).__name__}: {exc}") from exc


def agrees(given: Any, expected: Any, tolerance: float) -> bool:
    """Whether `given` has every key and value in `expected`, with numbers within the tolerance."""
    if isinstance(expected, dict):
        return isinstance(given, dict) and all(
            key in given and agrees(given[key], value, tolerance) for key, value in expected.items()
        )
    if isinstance(expected, list):
        return (
            isinstance(given, list)
            and len(given) == len(expected)
            and all(agrees(*pair, tolerance) for pair in zip(given, expected, strict=True))
        )
    if isinstance(expected, float) and isinstance(given, (int, float)):
        return abs(given - expected) <= tolerance
    return bool(given == expected and type(given) is type(expected))
