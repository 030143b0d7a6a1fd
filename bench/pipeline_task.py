"""A task with an estimator that is not a tree: a call costs far more than its rows, so micro-batching should help."""

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from model_service.task import Task


def task(_seed: int) -> Task:
    """Iris by logistic regression on scaled values."""
    flowers = load_iris()
    estimator = make_pipeline(StandardScaler(), LogisticRegression())
    return Task("iris", flowers.data, flowers.target, ("a", "b", "c", "d"), estimator, bar=0.8)
