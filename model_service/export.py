"""From a fitted scikit-learn estimator to plain arrays. To serve these, scikit-learn is not imported."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from model_service.trees import LEAF, Link, Tree, Trees

_LARGEST = np.finfo(np.float64).max
_SINGLE = (DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor)
_FORESTS = (RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor)
_BOOSTED = (GradientBoostingClassifier, GradientBoostingRegressor)


def as_trees(estimator: Any, *, compact: bool = False) -> Trees | None:
    """The arrays of a fitted tree, forest or gradient boosting with one output; None for every other estimator.

    Only the exact types are taken, since a subclass may predict in another way. `compact`: the arrays stay in the estimator's
    memory, which takes no more of it; a walk through them is slower, and they cannot be written.
    """
    kind = type(estimator)
    if getattr(estimator, "n_outputs_", 1) != 1:
        return None
    read = _view if compact else _tree
    if kind in _SINGLE:
        return _average([read(estimator.tree_)])
    if kind in _FORESTS:
        return _average([read(tree.tree_) for tree in estimator.estimators_])
    if kind in _BOOSTED and (estimator.init is None or estimator.init == "zero"):
        return _boost(estimator, read)
    return None


def visits_per_row(estimator: Any, rows: Any) -> float:
    """How many nodes of a tree, forest or gradient boosting a row visits, as a mean over rows."""
    given = np.asarray(rows, dtype=np.float32)
    return float(sum(tree.decision_path(given).getnnz() for tree in _fitted_trees(estimator)) / len(given))


def count_nodes(estimator: Any) -> int:
    """The number of nodes of a tree, forest or gradient boosting."""
    return sum(int(tree.node_count) for tree in _fitted_trees(estimator))


def total_depth(estimator: Any) -> int:
    """The most nodes that a row can visit, the leaves not counted."""
    return sum(int(tree.max_depth) for tree in _fitted_trees(estimator))


def _fitted_trees(estimator: Any) -> list[Any]:
    trees = [estimator] if type(estimator) in _SINGLE else np.ravel(estimator.estimators_)
    return [tree.tree_ for tree in trees]


def _average(trees: list[Tree]) -> Trees:
    leaf = next(node for node, feature in enumerate(trees[0].feature) if feature < 0)
    return Trees("mean", "identity", len(trees[0].value[leaf]), trees)


def _boost(estimator: Any, read: Callable[[Any], Tree]) -> Trees:
    stages, width = estimator.estimators_.shape
    trees = [read(estimator.estimators_[i, k].tree_) for i in range(stages) for k in range(width)]
    # The initial scores come from a constant predictor or are zero, so they are the same for every row.
    zeros = np.zeros((1, estimator.n_features_in_), dtype=np.float32)
    init = estimator._raw_predict_init(zeros)[0]  # noqa: SLF001  # there is no public method; training checks the result
    link: Link = "identity"
    if isinstance(estimator, GradientBoostingClassifier):
        link = "logistic" if width == 1 else "softmax"
    scale = 2.0 if getattr(estimator, "loss", None) == "exponential" else 1.0
    return Trees("boost", link, width, trees, tuple(init.tolist()), float(estimator.learning_rate), scale)


def _tree(fitted: Any) -> Tree:
    leaf = fitted.children_left == -1
    return Tree(
        feature=np.where(leaf, LEAF, fitted.feature).tolist(),
        # An infinite threshold splits missing values from all others. JSON has no infinity, and no float32 is larger than
        # the largest double.
        threshold=np.clip(np.where(leaf, 0.0, fitted.threshold), -_LARGEST, _LARGEST).tolist(),
        left=fitted.children_left.tolist(),
        right=fitted.children_right.tolist(),
        missing_left=fitted.missing_go_to_left.astype(bool).tolist(),
        value=[
            tuple(row) if is_leaf else () for row, is_leaf in zip(fitted.value[:, 0, :].tolist(), leaf, strict=True)
        ],
    )


class _Leaves(Sequence[Any]):
    """The vectors of a tree's nodes, in the estimator's memory."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, node: Any) -> Any:
        return tuple(self._values[node].tolist())


def _view(fitted: Any) -> Tree:
    """A tree whose arrays are the memory of the fitted one. A leaf has a negative feature there too."""
    return Tree(
        feature=memoryview(fitted.feature),
        threshold=memoryview(fitted.threshold),
        left=memoryview(fitted.children_left),
        right=memoryview(fitted.children_right),
        missing_left=memoryview(fitted.missing_go_to_left),
        value=_Leaves(fitted.value[:, 0, :]),
    )
