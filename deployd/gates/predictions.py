"""The predictions of a release for the rows of a file: asks it in batches, and reads labels, numbers and scores from its answers.

Raises Unpredicted when an answer lacks a prediction for a row, or has one that is not a label or a number.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from deployd.config.gates import OF_SCORES, Evaluate
from deployd.errors import RolloutFailed
from deployd.gates import labelled
from deployd.gates.asking import asking, refusal
from deployd.gates.golden_file import Exchange
from deployd.gates.labelled import Labelled
from deployd.jsonpath import Pattern


class Unpredicted(RolloutFailed):
    """A release does not answer some rows with a prediction. `rows`: which, for the record."""

    def __init__(self, message: str, rows: tuple[Mapping[str, Any], ...] = ()) -> None:
        super().__init__(message)
        self.rows = rows


async def predictions(
    evaluate: Evaluate, data: Labelled, address: str, headers: Mapping[str, str]
) -> dict[str, list[Any] | None]:
    """The predictions of a release for every row, and its scores where a metric needs them."""
    size = evaluate.batch
    rows = [row if evaluate.rows == "objects" else list(row.values()) for row in data.rows]
    batches = [rows[at : at + size] for at in range(0, len(rows), size)]
    requests = [Exchange("", "POST", evaluate.url, {evaluate.request: batch}, None) for batch in batches]
    async with asking(address, headers) as asker:
        answers = await asker.ask_all(requests, evaluate.concurrency)
    scored, labelled_too = bool(OF_SCORES & set(evaluate.metrics)), bool(set(evaluate.metrics) - OF_SCORES)
    predicted: list[Any] = []
    scores: list[Any] = []
    for at, (batch, answer) in enumerate(zip(batches, answers, strict=True)):
        where = f"rows {at * size + 1} to {at * size + len(batch)}"
        if answer is None or (why := refusal(evaluate.url, answer)):
            raise Unpredicted(f"{where}: {why if answer is not None else 'not asked: a request before it failed'}")
        if labelled_too:
            predicted += _found(answer.value, evaluate.predicted, len(batch), where)
        if scored:
            scores += _found(answer.value, evaluate.probabilities, len(batch), where)
    number = _numeric if evaluate.numeric else _label
    return {
        "predicted": [_each(number, value, at) for at, value in enumerate(predicted)] if labelled_too else None,
        "scores": [_each(_score, value, at) for at, value in enumerate(scores)] if scored else None,
    }


def _found(answer: Any, path: str, count: int, rows: str) -> list[Any]:
    values = list(Pattern(path).found(answer))
    if len(values) != count:
        raise Unpredicted(f"{rows}: the answer has {len(values)} values at {path}, expected {count}")
    return values


def _each(read: Callable[[Any], Any], value: Any, at: int) -> Any:
    try:
        return read(value)
    except ValueError as exc:
        text = f"row {at + 1}: the answer is {exc}"
        raise Unpredicted(text, ({"row": at + 1, "text": text},)) from exc


def _numeric(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("null, expected a number" if value is None else "no number")  # noqa: TRY004 - the caller's one kind
    if not math.isfinite(value):
        raise ValueError(f"{'NaN' if math.isnan(value) else 'infinite'}, expected a number")
    return float(value)


def _label(value: Any) -> str:
    if value is None or isinstance(value, dict | list) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(
            f"{'NaN' if isinstance(value, float) else 'null' if value is None else 'no label'}, expected a label"
        )
    return labelled.label(value)


def _score(value: Any) -> Any:
    return {name: _numeric(score) for name, score in value.items()} if isinstance(value, dict) else _numeric(value)
