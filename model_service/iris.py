"""The task that ships: which iris is it, by four measures of its flower. Replace this file to serve a model of your own."""

from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

from model_service.task import Task


def task(seed: int) -> Task:
    """Fisher's 150 flowers and a decision tree."""
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
        about="Tells setosa, versicolor and virginica apart by the lengths and widths of sepals and petals.",
    )
