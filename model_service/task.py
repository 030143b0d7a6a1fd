"""A task: the data and the estimator to train. Write a task to serve a model of your own.

It is a module with a function `task(seed: int) -> Task`. `model_service.iris` is the task that comes with the package;
`python -m model_service.train --task your.module` trains another one. docs/models.md says which estimators are served, and how.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """The data, the estimator, and the least score.

    `rows` is a DataFrame, or an array of numbers of shape (n, d). A DataFrame's columns keep their types: numbers, whole
    numbers, booleans, categories, text, dates, also with missing values; the estimator gets such a DataFrame when it is fitted
    and when it is served. `features` names the columns of an array; a DataFrame has names of its own. A column with a missing
    value in the data accepts missing values when it is served.

    `answers` are the values to predict, of shape (n,), or (n, k) for an estimator with k outputs; None for a clusterer or an
    outlier detector. `labels` names the classes in sorted order, or the outputs if there are several; a regressor has none.

    `bar` is the least accuracy (classifier) or R² (regressor) on the rows that are held back from training. With `final_fit`,
    the estimator is fitted again with all rows after it has passed. An estimator that is fitted already is passed as
    `FrozenEstimator(estimator)`. Use the seed for everything that is random.
    """

    name: str
    rows: Any
    answers: Any = None
    features: Sequence[str] = ()
    estimator: Any = None
    labels: Sequence[str] = ()
    units: Sequence[str] = ()
    bar: float = 0.0
    about: str = ""
    final_fit: bool = False
