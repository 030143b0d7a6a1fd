"""The columns of a model that MLflow logged: names and order of the fitted estimator, types of the signature, its categories."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from model_service import boosters
from model_service.categories import categories_of, takes_texts, text_columns
from model_service.columns import missing_value
from model_service.data import check_names
from model_service.errors import ModelRejected
from model_service.fitting import can_predict
from model_service.frames import FrameMaker
from model_service.manifest import Feature
from model_service.mlflow_files import Column, Logged

# MLflow's type -> our type, and the column's in a DataFrame; without and with missing values.
_TYPES = {
    "boolean": ("boolean", "bool", "boolean"),
    "integer": ("integer", "int32", "Int32"),
    "long": ("integer", "int64", "Int64"),
    "float": ("number", "float32", "float32"),
    "double": ("number", "float64", "float64"),
}


def features_of(logged: Logged, estimator: Any) -> list[Feature]:
    """The columns in the order of the estimator. Raises ModelRejected if the signature has others."""
    columns = logged.columns
    if takes_texts(estimator):
        name = columns[0].name if columns else ""
        if columns is not None and (len(columns) != 1 or columns[0].type != "string"):
            raise ModelRejected("the model takes texts, but its signature has other columns than one of strings")
        check_names([name or "text"])
        return [_text(logged, Column(name or "text", "string"), [])]
    names = boosters.feature_names(boosters.split(estimator)[1]) if boosters.package_of(estimator) else None
    names = names or _names(estimator)
    if names is None:
        return _of_array(logged, estimator)
    check_names(names)
    by_name = {column.name: column for column in columns or _guessed(logged, estimator, names)}
    absent = [name for name in names if name not in by_name]
    if absent:
        raise ModelRejected(
            f"the estimator was fitted with the columns {', '.join(map(repr, absent[:5]))}, which the signature lacks",
            hint="log the model with the signature of the DataFrame that it was fitted with",
        )
    known = categories_of(estimator, names) | _of_lightgbm(estimator, [by_name[name] for name in names])
    texts = text_columns(estimator, names)
    return [_feature(logged, by_name[name], known.get(name), is_text=name in texts) for name in names]


def with_missing(logged: Logged, estimator: Any, features: list[Feature], rows: Sequence[Any]) -> list[Feature]:
    """Without a signature, the estimator is asked for each column whether it takes a missing value."""
    if logged.columns is not None:
        return features
    found = []
    for k, feature in enumerate(features):
        opened = feature.model_copy(update={"missing": True, "dtype": _nullable(feature.dtype)})
        row = [*rows[0][:k], missing_value(feature), *rows[0][k + 1 :]]
        given = [*features[:k], opened, *features[k + 1 :]]
        frame = FrameMaker(given).frame([row]) if feature.dtype else np.asarray([row], dtype=np.float64)
        found.append(opened if can_predict(estimator, frame) else feature)
    return found


def _names(estimator: Any) -> list[str] | None:
    given = getattr(estimator, "feature_names_in_", None)
    return None if given is None else [str(name) for name in given]


def _of_array(logged: Logged, estimator: Any) -> list[Feature]:
    """The columns of an estimator that was fitted with an array of numbers."""
    columns, width = logged.columns, getattr(estimator, "n_features_in_", None)
    if columns is None:
        width = width or len(logged.example[0] if logged.example else [])
        columns = [Column(name, "double") for name in logged.example_columns] or [Column("", "double")] * width
    if not columns or (width and width != len(columns)):
        raise ModelRejected(
            f"the signature has {len(columns)} columns, but the estimator was fitted with {width}",
            hint="log the model with a signature, or with an input example",
        )
    other = [column.name or str(k) for k, column in enumerate(columns) if column.type in ("string", "datetime")]
    if other:
        raise ModelRejected(
            f"the estimator was fitted with an array, but the columns {', '.join(other[:5])} are no numbers",
            hint="fit it with a DataFrame, and choose columns in the pipeline",
        )
    names = [column.name or f"x{k}" for k, column in enumerate(columns)]
    check_names(names)
    return [Feature(name=name, missing=not column.required) for name, column in zip(names, columns, strict=True)]


def _guessed(logged: Logged, estimator: Any, names: list[str]) -> list[Column]:
    """Columns of a model without a signature: by the example, by the encoders, and numbers else."""
    known, texts = categories_of(estimator, names), text_columns(estimator, names)
    columns = []
    for name in names:
        k = logged.example_columns.index(name) if name in logged.example_columns else -1
        values = [row[k] for row in logged.example if 0 <= k < len(row)]
        is_word = any(isinstance(value, str) for value in [*values, *known.get(name, [])]) or name in texts
        is_truth = bool(values) and all(isinstance(value, bool) for value in values)
        columns.append(Column(name, "string" if is_word else "boolean" if is_truth else "double"))
    return columns


def _feature(logged: Logged, column: Column, known: list[Any] | None, *, is_text: bool) -> Feature:
    if column.type == "string":
        return _text(logged, column, [] if is_text else known or [])
    if column.type == "datetime":
        unit = "ns" if _pandas(logged) < 3 else "us"
        return Feature(name=column.name, type="datetime", dtype=f"datetime64[{unit}]", missing=not column.required)
    kind, dtype, nullable = _TYPES[column.type]
    made = {"name": column.name, "type": kind, "dtype": dtype if column.required else nullable}
    return Feature.model_validate(made | {"missing": not column.required})


def _text(logged: Logged, column: Column, known: list[Any]) -> Feature:
    """Text, or a category if the estimator knows the values. The missing value is the one that it was fitted with."""
    absent = [value for value in known if value is None or value != value]  # noqa: PLR0124  # NaN
    present = [value for value in known if isinstance(value, str)]
    dtype, null = ("object", "nan") if _pandas(logged) < 3 else ("str", "None")
    if absent and absent[0] is None:
        dtype, null = "object", "None"
    made = {"name": column.name, "dtype": dtype, "null": null, "missing": not column.required or bool(absent)}
    if present:
        return Feature.model_validate(made | {"type": "category", "categories": present})
    return Feature.model_validate(made | {"type": "text"})


def _of_lightgbm(estimator: Any, columns: list[Column]) -> dict[str, list[Any]]:
    """The categories of pandas' own type, which LightGBM keeps in the order of such columns."""
    last = boosters.split(estimator)[1]
    given = getattr(getattr(last, "booster_", None), "pandas_categorical", None)
    words = [column.name for column in columns if column.type == "string"]
    return dict(zip(words, given, strict=False)) if given and last is estimator else {}


def _nullable(dtype: str) -> str:
    return next((nullable for _, plain, nullable in _TYPES.values() if plain == dtype), dtype)


def _pandas(logged: Logged) -> float:
    """The first number of the version of pandas that the model was logged with; without one, it is the one of today."""
    given = logged.versions.get("pandas", "").partition(".")[0]
    return int(given) if given.isdigit() else math.inf
