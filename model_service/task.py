"""What is to be learnt: the seam for another dataset or estimator.

A task is one module with a function `task(seed: int) -> Task`; `model_service.iris` is the one that is there, and
`python -m model_service.train --task your.module` trains another. Any scikit-learn classifier, regressor or Pipeline
with one output serves.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Task:
    """Data, estimator and the bar to clear.

    `rows` has shape (n, d) and `answers` (n,), both array-like. Rows hold numbers only: encode categories first. NaN in a
    column of `rows` means that the model accepts missing values there. `labels` names the classes in sorted order and is
    empty for a regressor. `bar` is the least accuracy (classifier) or R² (regressor) on the rows held back. Whatever is
    random takes the seed.
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
