"""A task with an estimator that can be slow, for tests of what happens meanwhile."""

import os
import time
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris

from model_service.task import Task

ENDLESS = 99.0  # a row that begins with this keeps the model busy for 90 s


class Slow(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Tells long flowers from short ones. The first call of a process takes $SLOW_FIRST seconds."""

    def fit(self, rows: Any, answers: Any) -> "Slow":
        self.classes_ = np.unique(answers)
        self.n_features_in_ = rows.shape[1]
        return self

    def predict(self, rows: Any) -> Any:
        time.sleep(float(os.environ.pop("SLOW_FIRST", "0")))
        if (rows[:, 0] == ENDLESS).any():
            time.sleep(90)
        return self.classes_[(rows[:, 0] > 5.5).astype(int)]


TRUST = ("--trust", f"{Slow.__module__}.{Slow.__qualname__}")


def task(_seed: int) -> Task:
    flowers = load_iris()
    return Task("slow", flowers.data, (flowers.target > 0).astype(int), ("a", "b", "c", "d"), Slow())
