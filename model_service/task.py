"""A task: the data and the estimator to train. Write a task to serve a model of your own.

It is a module with a function `task(seed: int) -> Task`. `model_service.iris` is the task that comes with the package;
`python -m model_service.train --task your.module` trains another one. The estimator may be any scikit-learn classifier,
regressor or Pipeline with one output.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """The data, the estimator, and the least score.

    `rows` has shape (n, d) and `answers`, the values to predict, has shape (n,); both are array-like. Rows hold numbers only:
    encode categories first. If a column of `rows` has NaN, the model accepts missing values there. `labels` names the classes
    in sorted order; it is empty for a regressor. `bar` is the least accuracy (classifier) or R² (regressor) on the rows that
    are held back from training. Use the seed for everything that is random.
    """

    name: str
    rows: Any
    answers: Any
    features: Sequence[str]
    estimator: Any
    labels: Sequence[str] = ()
    units: Sequence[str] = ()
    bar: float = 0.0
    about: str = ""
