"""DataFrames for an estimator, made from checked rows. Training and serving make them with the same functions, so that what the
estimator gets when it is served is what it got when it was fitted: the same columns in the same order, with the same types.

Imported only for models that take a DataFrame, since it imports pandas.
"""

from collections.abc import Callable, Sequence
from datetime import UTC
from typing import Any

import numpy as np
import pandas as pd

from model_service.manifest import Feature

_NULLS = {"None": None, "nan": np.nan, "NA": pd.NA}
Maker = Callable[[Sequence[Any]], Any]


class FrameMaker:
    """Makes the DataFrames of one model."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._names = [feature.name for feature in features]
        self._makers = [_maker(feature) for feature in features]
        self._index = pd.Index(self._names, dtype="str")
        self._all_doubles = all(feature.dtype == "float64" for feature in features)

    def frame(self, rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
        """The rows as a DataFrame. A missing value is NaN in a column of numbers or booleans, and None in any other one."""
        if self._all_doubles:  # one array is much cheaper than one for each column
            return pd.DataFrame(np.array(rows, dtype=np.float64), columns=self._index)
        columns = zip(*rows, strict=True)
        return pd.DataFrame(
            {name: make(values) for name, make, values in zip(self._names, self._makers, columns, strict=True)},
            copy=False,
        )


def only_column(frame: Any) -> Any:
    """The only column of a DataFrame: what a vectorizer of texts takes. A step of the pipelines that begin with one."""
    return frame.iloc[:, 0]


def cells(frame: pd.DataFrame, features: Sequence[Feature]) -> list[list[Any]]:
    """The checked rows that `FrameMaker` makes this DataFrame of."""
    columns = [_values(frame[feature.name], feature) for feature in features]
    return [list(row) for row in zip(*columns, strict=True)]


def _values(column: Any, feature: Feature) -> list[Any]:
    missing = np.nan if feature.type in ("number", "integer", "boolean") else None
    values = column.astype(object).tolist()
    if feature.type == "datetime":
        values = [value if absent else value.to_pydatetime(warn=False) for value, absent in _pairs(values, column)]
    return [missing if absent else value for value, absent in _pairs(values, column)]


def _pairs(values: list[Any], column: Any) -> Any:
    return zip(values, column.isna().tolist(), strict=True)


def _maker(feature: Feature) -> Maker:
    dtype = feature.dtype
    if dtype.startswith("category"):
        return _categorical(feature)
    if feature.type == "datetime":
        return _dates(dtype)
    if dtype == "object":
        return _objects(_NULLS[feature.null])
    if dtype[:1].isupper() or dtype == "boolean":  # pandas' own types, in which a value may be missing
        return lambda values: pd.array([pd.NA if value != value else value for value in values], dtype=dtype)  # noqa: PLR0124
    if feature.type in ("number", "integer", "boolean"):
        return lambda values: np.array(values, dtype=dtype)
    return lambda values: pd.array(list(values), dtype=dtype)


def _categorical(feature: Feature) -> Maker:
    inner = feature.dtype.removeprefix("category[").removesuffix("]")
    known = pd.Index(feature.categories, dtype=inner)
    dtype = pd.CategoricalDtype(known, ordered=feature.ordered)
    names = frozenset(feature.categories)

    def make(values: Sequence[Any]) -> Any:
        unknown = [value for value in dict.fromkeys(values) if value is not None and value not in names]
        if not unknown:
            return pd.Categorical(values, dtype=dtype)
        return pd.Categorical(values, categories=known.append(pd.Index(unknown)), ordered=feature.ordered)

    return make


def _dates(dtype: str) -> Maker:
    if "," in dtype:
        return lambda values: pd.array([value and value.astimezone(UTC) for value in values], dtype=dtype)
    return lambda values: pd.array(list(values), dtype=dtype)


def _objects(null: Any) -> Maker:
    def make(values: Sequence[Any]) -> Any:
        made = np.empty(len(values), dtype=object)
        made[:] = [null if value is None or value != value else value for value in values]  # noqa: PLR0124
        return pd.Series(made, dtype=object)  # pandas would take an array of texts as a column of texts

    return make
