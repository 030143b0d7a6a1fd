"""Tasks for tests: every kind of estimator that the service can serve."""

from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, make_classification
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from model_service.task import Task


def iris(estimator: Any, name: str = "iris") -> Task:
    flowers = load_iris()
    names = [str(name) for name in flowers.target_names]
    return Task(name, flowers.data, flowers.target, ("a", "b", "c", "d"), estimator, labels=names, bar=0.8)


def diabetes(estimator: Any) -> Task:
    people = load_diabetes()
    return Task("diabetes", people.data, people.target, people.feature_names, estimator, bar=-1.0)


def cancer(estimator: Any) -> Task:
    cells = load_breast_cancer()
    names = [str(name) for name in cells.feature_names]
    return Task("cancer", cells.data, cells.target, names, estimator, labels=["malignant", "benign"], bar=0.8)


def with_missing_values(estimator: Any) -> Task:
    """Two of four columns have missing values, and the classes are words."""
    rows, answers = make_classification(n_samples=300, n_features=4, random_state=0)
    rows[np.random.default_rng(0).random(rows.shape) < 0.1] = np.nan
    rows[:, 2:] = np.nan_to_num(rows[:, 2:])
    return Task("missing-values", rows, np.where(answers, "yes", "no"), ("a", "b", "c", "d"), estimator, bar=0.7)


def polynomial_ridge() -> Task:
    """Its prediction is not finite for numbers whose ninth power is larger than every double."""
    flowers = load_iris()
    estimator = make_pipeline(StandardScaler(), PolynomialFeatures(9), Ridge(solver="lsqr"))
    return Task("polynomial", flowers.data, flowers.target.astype(float), ("a", "b", "c", "d"), estimator)


TREES = {
    "tree": lambda seed: iris(DecisionTreeClassifier(random_state=seed)),
    "best-first tree": lambda seed: iris(DecisionTreeClassifier(random_state=seed, max_leaf_nodes=5)),
    "forest": lambda seed: iris(RandomForestClassifier(20, random_state=seed)),
    "extra trees": lambda seed: iris(ExtraTreesClassifier(15, random_state=seed)),
    "boosting": lambda seed: iris(GradientBoostingClassifier(n_estimators=15, random_state=seed)),
    "boosting of two classes": lambda seed: cancer(GradientBoostingClassifier(n_estimators=15, random_state=seed)),
    "exponential boosting": lambda seed: cancer(
        GradientBoostingClassifier(n_estimators=15, loss="exponential", random_state=seed)
    ),
    "boosting from zero": lambda seed: iris(GradientBoostingClassifier(n_estimators=5, init="zero", random_state=seed)),
    "regression tree": lambda seed: diabetes(DecisionTreeRegressor(random_state=seed, max_depth=6)),
    "regression forest": lambda seed: diabetes(RandomForestRegressor(20, random_state=seed)),
    "boosted regression": lambda seed: diabetes(GradientBoostingRegressor(n_estimators=20, random_state=seed)),
    "tree with missing values": lambda seed: with_missing_values(DecisionTreeClassifier(random_state=seed)),
    "forest with missing values": lambda seed: with_missing_values(RandomForestClassifier(10, random_state=seed)),
}
OTHERS = {
    "logistic regression in a pipeline": lambda seed: iris(make_pipeline(StandardScaler(), LogisticRegression())),
    "support vectors without probabilities": lambda seed: iris(SVC(random_state=seed)),
    "ridge regression of a polynomial": lambda seed: polynomial_ridge(),
    "ridge regression": lambda seed: diabetes(make_pipeline(StandardScaler(), Ridge())),
}


def task(seed: int) -> Task:
    """A pipeline, for --task tests.model_service.tasks."""
    return OTHERS["logistic regression in a pipeline"](seed)


def untrusted(seed: int) -> Task:
    """An estimator of a compiled type, which skops does not trust."""
    return iris(KNeighborsClassifier())
