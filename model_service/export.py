"""From a fitted scikit-learn estimator to plain arrays. Used in training only: to serve trees, scikit-learn is not imported."""

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


def as_trees(estimator: Any) -> Trees | None:
    """The arrays of a fitted tree, forest or gradient boosting; None for every other estimator.

    Only the exact types are taken, since a subclass may predict in another way.
    """
    kind = type(estimator)
    if kind in _SINGLE:
        return _average([estimator])
    if kind in _FORESTS:
        return _average(estimator.estimators_)
    if kind in _BOOSTED and (estimator.init is None or estimator.init == "zero"):
        return _boost(estimator)
    return None


def _average(fitted: list[Any]) -> Trees:
    trees = [_tree(tree.tree_) for tree in fitted]
    return Trees("mean", "identity", int(fitted[0].tree_.value.shape[2]), trees)


def _boost(estimator: Any) -> Trees:
    stages, width = estimator.estimators_.shape
    trees = [_tree(estimator.estimators_[i, k].tree_) for i in range(stages) for k in range(width)]
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
