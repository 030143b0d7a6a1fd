"""The categories that a fitted estimator knows of its columns: those of the encoder that a column goes through first."""

from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

_VECTORIZERS = (CountVectorizer, HashingVectorizer)


def categories_of(estimator: Any, names: list[str]) -> dict[str, list[Any]]:
    """For each column that goes through an encoder: the values that it knows, missing ones among them."""
    if isinstance(estimator, Pipeline):
        return _of_steps([step for _, step in estimator.steps], names)
    if isinstance(estimator, ColumnTransformer):
        found: dict[str, list[Any]] = {}
        for _, part, columns in estimator.transformers_:
            found |= categories_of(part, _names(columns, names))
        return found
    if isinstance(estimator, (OneHotEncoder, OrdinalEncoder, TargetEncoder)):
        return {name: values.tolist() for name, values in zip(names, estimator.categories_, strict=False)}
    if isinstance(estimator, (HistGradientBoostingClassifier, HistGradientBoostingRegressor)):
        return _of_boosting(estimator, names)
    return {}


def text_columns(estimator: Any, names: list[str]) -> set[str]:
    """The columns of which a vectorizer takes the texts."""
    if isinstance(estimator, Pipeline):
        return text_columns(estimator.steps[0][1], names)
    if isinstance(estimator, ColumnTransformer):
        parts = [(part, _names(columns, names)) for _, part, columns in estimator.transformers_]
        return {name for part, given in parts if takes_texts(part) for name in given}
    return set()


def takes_texts(estimator: Any) -> bool:
    """Whether it takes a list of texts, and not a table: a vectorizer, or what begins with one."""
    if isinstance(estimator, Pipeline):
        return takes_texts(estimator.steps[0][1])
    if isinstance(estimator, FeatureUnion):
        return all(takes_texts(part) for _, part in estimator.transformer_list)
    return isinstance(estimator, _VECTORIZERS)


def _of_steps(steps: list[Any], names: list[str]) -> dict[str, list[Any]]:
    for step in steps:
        # An imputer leaves out columns that had no value at all.
        keeps_columns = (
            isinstance(step, SimpleImputer) and not step.add_indicator and len(step.statistics_) == len(names)
        )
        if step != "passthrough" and not keeps_columns:
            return categories_of(step, names)
    return {}


def _of_boosting(estimator: Any, names: list[str]) -> dict[str, list[Any]]:
    if estimator.is_categorical_ is None:
        return {}
    encoder = estimator._preprocessor.named_transformers_["encoder"]  # noqa: SLF001  # there is no public name
    coded = [name for name, is_coded in zip(names, estimator.is_categorical_.tolist(), strict=True) if is_coded]
    return categories_of(encoder, coded)


def _names(columns: Any, names: list[str]) -> list[str]:
    """The names of the columns that a part of a ColumnTransformer takes: given by name, place, slice or mask."""
    if isinstance(columns, str):
        return [columns]
    if isinstance(columns, slice) and not isinstance(columns.start or columns.stop, str):
        return names[columns]
    if isinstance(columns, int):
        return [names[columns]]
    given = list(columns) if not isinstance(columns, slice) else []
    if given and isinstance(given[0], (bool, np.bool_)):
        return [name for name, is_taken in zip(names, given, strict=True) if is_taken]
    return [one if isinstance(one, str) else names[one] for one in given]
