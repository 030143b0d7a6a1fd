"""The task that comes with the package: the species of an iris from four measures. Replace it to serve your own model."""

from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

from model_service.task import Task


def task(seed: int) -> Task:
    """Fisher's data of 150 flowers, and a decision tree."""
    flowers = load_iris()
    return Task(
        name="iris",
        rows=flowers.data,
        answers=flowers.target,
        features=("sepal_length", "sepal_width", "petal_length", "petal_width"),
        units=("cm", "cm", "cm", "cm"),
        labels=[str(name) for name in flowers.target_names],
        estimator=DecisionTreeClassifier(random_state=seed),
        bar=0.9,
        about="Predicts the species of an iris from the lengths and widths of its sepals and petals.",
    )
