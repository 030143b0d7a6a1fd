"""The model: what it is trained on, and what it must reach."""

from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

from model_service.task import Task


def task(seed: int) -> Task:
    """The species of an iris, from four measures."""
    flowers = load_iris()
    return Task(
        name="mymodel",
        about="Predicts the species of an iris from the lengths and widths of its sepals and petals.",
        rows=flowers.data,
        features=("sepal_length", "sepal_width", "petal_length", "petal_width"),
        units=("cm", "cm", "cm", "cm"),
        answers=flowers.target,
        labels=[str(name) for name in flowers.target_names],
        estimator=DecisionTreeClassifier(random_state=seed),
        bar=0.9,  # the least accuracy on rows that are held back; below it, nothing is deployed
    )
