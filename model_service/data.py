"""The data of a task, checked: its rows as a DataFrame or an array, its answers, and a description of each column.

Used in training only. Every fault is a TrainingFailed that names the column and what to do.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_service.errors import TrainingFailed
from model_service.manifest import Feature
from model_service.task import Task

_MOST_CATEGORIES = 100  # a column of more different texts is a column of text


@dataclass(frozen=True)
class Data:
    """Rows and answers of one length. The features have types and names, but nothing that was measured on the rows."""

    rows: Any
    answers: Any
    features: list[Feature]

    def cells(self, rows: Any) -> list[list[Any]]:
        """Some of the rows as a request would bring them: checked values of each column."""
        if not is_frame(rows):
            return [list(row) for row in rows.tolist()]
        from model_service.frames import cells  # noqa: PLC0415  # pandas is there, since there is a DataFrame

        return cells(rows, self.features)

    def sha256(self) -> str:
        """A hash of rows and answers."""
        content = hashlib.sha256()
        for part in (self.rows, self.answers):
            if is_frame(part):
                import pandas as pd  # noqa: PLC0415  # it is there, since there is a DataFrame

                content.update(pd.util.hash_pandas_object(part, index=False).to_numpy().tobytes())
            elif part is not None:
                content.update(
                    np.ascontiguousarray(part).tobytes() if part.dtype != object else repr(part.tolist()).encode()
                )
        return content.hexdigest()


def is_frame(rows: Any) -> bool:
    """Whether these are rows of a DataFrame."""
    return hasattr(rows, "iloc") and hasattr(rows, "columns")


def read(task: Task) -> Data:
    """The checked data of a task. Raises TrainingFailed."""
    rows, features = _read_frame(task) if is_frame(task.rows) else _read_array(task)
    check_names([feature.name for feature in features])
    answers = _read_answers(task.answers)
    if answers is not None and len(rows) != len(answers):
        raise TrainingFailed(
            f"rows {rows.shape} and answers {answers.shape} have other lengths: one answer for each row"
        )
    return Data(rows, answers, features)


def describe(features: Sequence[Feature], training_rows: Any, all_rows: Any) -> list[Feature]:
    """The features with what the rows have in them: ranges and categories of the training rows, missing values of all rows."""
    described = []
    for k, feature in enumerate(features):
        training, every = ((rows[feature.name] if is_frame(rows) else rows[:, k]) for rows in (training_rows, all_rows))
        described.append(_describe(feature, training, every))
    return described


def _read_array(task: Task) -> tuple[Any, list[Feature]]:
    try:
        rows = np.asarray(task.rows, dtype=np.float64)
    except (ValueError, TypeError) as exc:
        raise TrainingFailed(
            f"the rows are not numbers: {exc}", hint="pass a DataFrame: its columns may hold text, categories and dates"
        ) from exc
    if rows.ndim != 2:
        raise TrainingFailed(f"rows {rows.shape} have another shape than (n, d)")
    if not rows.size:
        raise TrainingFailed(f"rows {rows.shape}: there is no row or no column")
    names = list(task.features)
    if len(names) != rows.shape[1]:
        raise TrainingFailed(f"the task names {len(names)} features, its rows have {rows.shape[1]}")
    if np.isinf(rows).any():
        raise TrainingFailed(f"the rows have infinite values, in {_first(names, np.isinf(rows).any(axis=0))}")
    for name in names:
        if not isinstance(name, str):
            raise TrainingFailed(f"the feature {name!r} is no text", hint="name the features with texts")
    return rows, [
        Feature.model_construct(name=name, unit=unit)
        for name, unit in zip(names, _units(task, len(names)), strict=True)
    ]


def _read_frame(task: Task) -> tuple[Any, list[Feature]]:
    from model_service.frames import FrameMaker, cells  # noqa: PLC0415  # pandas is there, since there is a DataFrame

    frame = task.rows
    names = list(frame.columns)
    for name in names:
        if not isinstance(name, str):
            hint = "rows.columns = rows.columns.astype(str), before the estimator names columns"
            raise TrainingFailed(f"the column {name!r} has no text as its name", hint=hint)
    check_names(names)
    if task.features and list(task.features) != names:
        raise TrainingFailed("features differ from the DataFrame's columns", hint="leave features out")
    if not len(frame) or not names:
        raise TrainingFailed(f"rows {frame.shape}: there is no row or no column")
    features = [_type(frame[name], unit) for name, unit in zip(names, _units(task, len(names)), strict=True)]
    return FrameMaker(features).frame(cells(frame, features)), features


def _type(column: Any, unit: str) -> Feature:
    """A feature with the type of a DataFrame's column."""
    import pandas as pd  # noqa: PLC0415  # it is there, since there is a DataFrame

    types, dtype = pd.api.types, str(column.dtype)
    given: dict[str, Any] = {"name": column.name, "unit": unit, "dtype": dtype}
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _category_type(column, given)
    if types.is_bool_dtype(column.dtype):
        return Feature.model_construct(**given, type="boolean")
    if types.is_integer_dtype(column.dtype):
        return Feature.model_construct(**given, type="integer")
    if types.is_float_dtype(column.dtype):
        if np.isinf(column.to_numpy(dtype=float, na_value=np.nan)).any():
            raise TrainingFailed(f"the column {column.name!r} has infinite values")
        return Feature.model_construct(**given, type="number")
    if types.is_datetime64_any_dtype(column.dtype):
        return Feature.model_construct(**given, type="datetime")
    if dtype in ("object", "str") or isinstance(column.dtype, pd.StringDtype):
        return _object_type(column, given)
    raise TrainingFailed(
        f"the column {column.name!r} has the type {dtype}, which cannot be served",
        hint="serve numbers, booleans, categories, text or dates; a time span as a number of seconds",
    )


def _category_type(column: Any, given: dict[str, Any]) -> Feature:
    values = column.cat.categories.tolist()
    if not all(isinstance(value, (bool, int, float, str)) for value in values):
        raise TrainingFailed(
            f"the column {column.name!r} has categories that are neither text nor numbers", hint="astype(str) first"
        )
    dtype = f"category[{column.cat.categories.dtype}]"
    return Feature.model_construct(
        **given | {"dtype": dtype}, type="category", categories=values, ordered=bool(column.cat.ordered)
    )


def _object_type(column: Any, given: dict[str, Any]) -> Feature:
    import pandas as pd  # noqa: PLC0415  # it is there, since there is a DataFrame

    kind = pd.api.types.infer_dtype(column, skipna=True)
    given |= {"null": _null(column)}
    if kind == "boolean":
        return Feature.model_construct(**given, type="boolean")
    if kind == "string":
        present = column.dropna()
        distinct = present.nunique()
        if distinct <= _MOST_CATEGORIES and 2 * distinct <= len(present):
            return Feature.model_construct(**given, type="category")
        return Feature.model_construct(**given, type="text")
    hints = {
        "integer": "pd.to_numeric(column)",
        "floating": "pd.to_numeric(column)",
        "mixed-integer-float": "pd.to_numeric(column)",
        "decimal": "pd.to_numeric(column)",
        "date": "pd.to_datetime(column)",
        "datetime": "pd.to_datetime(column)",
        "empty": "drop the column",
    }
    what = "no value at all" if kind == "empty" else f"objects of the kind {kind}"
    raise TrainingFailed(
        f"the column {column.name!r} holds {what}",
        hint=hints.get(kind, "give every value of it one type, for example str"),
    )


def _null(column: Any) -> str:
    """The value that marks missing ones in a column of objects. Raises TrainingFailed if there are several."""
    import pandas as pd  # noqa: PLC0415  # it is there, since there is a DataFrame

    if str(column.dtype) != "object":
        return "None"
    nulls = {"None" if one is None else "NA" if one is pd.NA else "nan" for one in column[column.isna()].tolist()}
    if len(nulls) > 1:
        raise TrainingFailed(
            f"the column {column.name!r} has missing values of several kinds: {', '.join(sorted(nulls))}",
            hint="make them one, for example with column.astype('str')",
        )
    return nulls.pop() if nulls else "None"


def _describe(feature: Feature, training: Any, every: Any) -> Feature:
    known = feature.model_dump() | {"missing": bool(_is_missing(every).any())}
    present = training[~_is_missing(training)]
    if not len(present):
        raise TrainingFailed(f"the training rows have no value at all in {feature.name!r}", hint="drop the column")
    if feature.type in ("number", "integer", "boolean"):
        numbers = np.asarray(present, dtype=np.float64)
        known |= {"minimum": float(numbers.min()), "maximum": float(numbers.max()), "mean": float(numbers.mean())}
    elif feature.type == "datetime":
        known |= {"earliest": present.min().isoformat(), "latest": present.max().isoformat()}
    elif feature.type == "category":
        frequencies = present.value_counts()
        values = feature.categories or sorted(frequencies.index.tolist())
        known |= {"categories": values, "counts": [int(frequencies.get(value, 0)) for value in values]}
    return Feature(**known)


def _is_missing(column: Any) -> Any:
    return column.isna() if hasattr(column, "isna") else np.isnan(column)


def _read_answers(given: Any) -> Any:
    """The answers as an array of shape (n,) or (n, k); None if there are none."""
    if given is None:
        return None
    if hasattr(given, "isna") and np.asarray(given.isna()).any():
        raise TrainingFailed("some answers are missing", hint="leave their rows out")
    answers = np.asarray(given)
    if str(getattr(given, "dtype", "")) in ("str", "string", "category") or answers.dtype == object:
        answers = np.asarray(answers.tolist())  # texts of one length, as scikit-learn's own data sets have them
    if answers.ndim == 2 and answers.shape[1] == 1:
        answers = answers[:, 0]
    if answers.ndim not in (1, 2) or answers.dtype == object:
        raise TrainingFailed(f"answers {answers.shape} have another shape than (n,) or (n, k), or no type of their own")
    if answers.dtype.kind == "f" and not np.isfinite(answers).all():
        raise TrainingFailed("some answers are missing or infinite", hint="leave their rows out")
    return answers


def check_names(names: list[str]) -> None:
    """Raises TrainingFailed if these are no names for features."""
    for name, count in Counter(names).items():
        if not 1 <= len(name) <= 200 or any("\ud800" <= one <= "\udfff" for one in name):
            raise TrainingFailed(f"the feature {name[:40]!r} needs a name of 1 to 200 characters")
        if count > 1:
            raise TrainingFailed(f"{count} features have the name {name!r}")


def _units(task: Task, width: int) -> list[str]:
    units = list(task.units) or [""] * width
    if len(units) != width or not all(isinstance(unit, str) for unit in units):
        raise TrainingFailed(f"{len(units)} units for {width} features: name one text for each, or none")
    return units


def _first(names: list[str], where: Any) -> str:
    return repr(names[int(np.argmax(where))])
