"""Labelled rows from a file of JSON Lines or CSV: the request of each, and the expected label. Pure.

The label's column is never sent.
"""

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deployd.config.gates import Evaluate
from deployd.errors import RolloutFailed

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_MOST_ROWS = 100_000
_MOST_BYTES = 64 * 1024 * 1024
_MOST_SLICES = 50


@dataclass(frozen=True, slots=True)
class Labelled:
    """The rows of a file. `slices`: the positions of the rows of each, by `column=value`. `digest`: of the file and of how its
    rows are sent."""

    rows: tuple[Mapping[str, Any], ...]
    expected: tuple[Any, ...]
    slices: Mapping[str, list[int]]
    digest: str


def read(content: bytes, evaluate: Evaluate) -> Labelled:
    """The rows of `evaluate.data`; RolloutFailed says which line is wrong."""
    name = evaluate.data
    if len(content) > _MOST_BYTES:
        raise RolloutFailed(f"{name} is larger than {_MOST_BYTES // 2**20} MiB", hint="evaluate on a sample of it")
    rows: list[Mapping[str, Any]] = []
    expected: list[Any] = []
    slices: dict[str, list[int]] = {}
    for where, row in _numbered(content, name):
        missing = next((column for column in (evaluate.target, *evaluate.by) if column not in row), None)
        if missing is not None:
            raise RolloutFailed(f"{where} has no {missing}", hint="check app.evaluate.target and app.evaluate.by")
        expected.append(_number(row[evaluate.target], where) if evaluate.numeric else label(row[evaluate.target]))
        for column in evaluate.by:
            slices.setdefault(f"{column}={label(row[column])}", []).append(len(rows))
        left_out = {evaluate.target, *evaluate.drop}
        rows.append({column: value for column, value in row.items() if column not in left_out})
    if not rows or len(rows) > _MOST_ROWS:
        raise RolloutFailed(f"{name} has {len(rows)} rows, expected 1 to {_MOST_ROWS}")
    if len(slices) > _MOST_SLICES * max(len(evaluate.by), 1):
        raise RolloutFailed(
            f"{name} has {len(slices)} slices by {', '.join(evaluate.by)}", hint=f"at most {_MOST_SLICES}"
        )
    return Labelled(tuple(rows), tuple(expected), slices, _digest(content, evaluate))


def label(value: Any) -> str:
    """A label as text: 1, 1.0 and "1" are one label, since CSV has only text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _numbered(content: bytes, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row, with its place in the file for messages."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise RolloutFailed(f"{name} is not UTF-8 text") from exc
    yield from _of_csv(text, name) if name.lower().endswith(".csv") else _of_lines(text, name)


def _of_csv(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = next(lines, [])
        if len(set(columns)) < len(columns):
            raise RolloutFailed(f"{name} has two columns with the same name")
        for cells in lines:
            where = f"{name}, line {lines.line_num},"
            if cells and len(cells) != len(columns):
                raise RolloutFailed(f"{where} has {len(cells)} cells, expected {len(columns)}")
            if cells:
                yield where, {column: _cell(cell) for column, cell in zip(columns, cells, strict=True)}
    except csv.Error as exc:
        raise RolloutFailed(f"{name}, line {lines.line_num}, is not CSV: {exc}") from exc


def _of_lines(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as exc:
            raise RolloutFailed(f"{name}, line {number}, is not JSON", hint="one JSON object on each line") from exc
        if not isinstance(row, dict):
            raise RolloutFailed(f"{name}, line {number}, is not a JSON object", hint="one JSON object on each line")
        yield f"{name}, line {number},", row


def _cell(text: str) -> Any:
    """A cell: a number where it looks like one, null where it is empty."""
    if _NUMBER.fullmatch(text) is None:
        return text or None
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RolloutFailed(f"{where} has no number as its target")
    return float(value)


def _digest(content: bytes, evaluate: Evaluate) -> str:
    """A digest that is equal for comparable evaluations: the same rows, sent and read in the same way."""
    how = evaluate.model_dump(
        mode="json", include={"target", "url", "request", "rows", "prediction", "probabilities", "drop", "by"}
    )
    return "sha256:" + hashlib.sha256(content + json.dumps(how, sort_keys=True).encode()).hexdigest()
