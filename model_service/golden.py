"""Golden predictions: requests and the answers they must get, written at training (`golden.json`).

The file explains itself: POST each case's `request` to `url`; every key of its `response` must come back with that value,
numbers within `tolerance` (absolute); keys that are not named are free. Serving replays it before it calls itself ready,
a deployer may do so again over HTTP.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

from model_service.errors import ModelRejected, RequestRejected
from model_service.model import Model
from model_service.rows import RowReader

FILE = "golden.json"
TOLERANCE = 1e-6
CASES = 12
MOST_ROWS = 10_000


def golden_rows(unseen: Any, described: dict[str, Any]) -> list[list[float]]:
    """Rows to pin down: some that training has not seen, and the corners of the training data's ranges."""
    rows: list[list[float]] = [list(row) for row in unseen[: CASES - 3].tolist()]
    rows += [[float(feature[key]) for feature in described["features"]] for key in ("minimum", "mean", "maximum")]
    return [row for row in rows if all(value == value for value in row)]  # noqa: PLR0124  # NaN is not JSON


def golden_document(model: Model, rows: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The content of golden.json: one case a row, and one of all rows together."""
    answers = [json.loads(answer.json) for answer in model.answers(rows)]
    cases = [
        {"request": {"instances": [list(row)]}, "response": {"predictions": [answer]}}
        for row, answer in zip(rows, answers, strict=True)
    ]
    cases.append({"request": {"instances": [list(row) for row in rows]}, "response": {"predictions": answers}})
    return {"url": "/predict", "method": "POST", "tolerance": TOLERANCE, "cases": cases}


def check_golden(model: Model, content: bytes) -> int:
    """Replays the file against a loaded model; the number of cases. Raises ModelRejected at the first wrong answer."""
    try:
        document = json.loads(content)
        cases = [(case["request"], case["response"]) for case in document["cases"]]
        tolerance = float(document["tolerance"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as exc:
        raise ModelRejected(f"{FILE} is not usable: {exc!r}") from exc
    if not cases or not 0 <= tolerance < math.inf:
        raise ModelRejected(f"{FILE} proves nothing: expected at least one case and a finite tolerance")
    reader = RowReader(model.manifest, max_rows=MOST_ROWS)
    for i, (request, wanted) in enumerate(cases):
        answers = _answers(model, reader, request, f"{FILE}, case {i}")
        if not isinstance(wanted, dict) or not wanted.get("predictions"):
            raise ModelRejected(f"{FILE}, case {i}: names no predictions")
        if not agrees({"predictions": answers}, wanted, tolerance):
            raise ModelRejected(f"{FILE}, case {i}: the model no longer answers as it did when it was trained")
    return len(cases)


def _answers(model: Model, reader: RowReader, request: Any, at: str) -> list[Any]:
    try:
        return [json.loads(answer.json) for answer in model.answers(reader.listed(request, "instances"))]
    except RequestRejected as exc:
        raise ModelRejected(f"{at}: {exc.message}") from exc
    except Exception as exc:  # a damaged model raises whatever it pleases
        raise ModelRejected(f"{at}: the model fails: {type(exc).__name__}: {exc}") from exc


def agrees(given: Any, wanted: Any, tolerance: float) -> bool:
    """Whether `given` holds all that `wanted` asks for, numbers within the tolerance."""
    if isinstance(wanted, dict):
        return isinstance(given, dict) and all(
            key in given and agrees(given[key], value, tolerance) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(given, list)
            and len(given) == len(wanted)
            and all(agrees(*pair, tolerance) for pair in zip(given, wanted, strict=True))
        )
    if isinstance(wanted, float) and isinstance(given, (int, float)):
        return abs(given - wanted) <= tolerance
    return bool(given == wanted and type(given) is type(wanted))
