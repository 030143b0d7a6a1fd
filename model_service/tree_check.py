"""Checks the compiled trees in an estimator that was read from a file. A forged one would read beyond its arrays and crash the
process, so no tree is used before each of its nodes leads onwards to nodes and features that exist.
"""

import gc
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree._tree import Tree

from model_service.errors import ModelRejected

CHECKED = ("sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor")
_WITHOUT_DATA = (type, ModuleType, FunctionType, BuiltinFunctionType, str, bytes, int, float, np.generic, np.dtype)


def check_trees(estimator: Any) -> None:
    """Checks every tree that the estimator holds, however deep. Raises ModelRejected."""
    for held in held_by(estimator):
        if isinstance(held, Tree):
            _check_children(held.children_left, held.children_right, held.children_left == -1)
            _check_features(held.feature[held.children_left != -1], held.n_features)
        elif isinstance(held, TreePredictor):
            _check_predictor(held)
        elif isinstance(getattr(held, "tree_", None), Tree):
            _check_width(held, held.tree_)
        elif isinstance(held, (GradientBoostingClassifier, GradientBoostingRegressor)):
            for tree in held.estimators_.ravel():
                _check_width(held, tree.tree_)
        elif hasattr(held, "_predictors"):
            _check_histogram_boosting(held)


def held_by(estimator: Any) -> Iterator[Any]:
    """The estimator and every object that it holds."""
    seen: set[int] = set()
    waiting = [estimator]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, _WITHOUT_DATA):
            continue
        seen.add(id(one))
        yield one
        # Arrays are unknown to the collector.
        waiting += (
            one.ravel().tolist() if isinstance(one, np.ndarray) and one.dtype == object else gc.get_referents(one)
        )


def _check_predictor(held: Any) -> None:
    nodes = held.nodes
    inner = nodes["is_leaf"] == 0
    if nodes["is_categorical"].any():
        raise ModelRejected("the boosting has splits by category, which cannot be checked", hint="use --format pickle")
    _check_children(nodes["left"].astype(np.int64), nodes["right"].astype(np.int64), ~inner)
    if (nodes["feature_idx"] < 0).any():
        raise ModelRejected("a tree uses a feature that does not exist")


def _check_histogram_boosting(held: Any) -> None:
    for stage in held._predictors:  # noqa: SLF001  # there is no public name
        for predictor in stage:
            inner = predictor.nodes["is_leaf"] == 0
            _check_features(predictor.nodes["feature_idx"][inner], held.n_features_in_)


def _check_children(left: Any, right: Any, leaf: Any) -> None:
    """A child comes after its parent, so every path ends."""
    size = len(leaf)
    numbers = np.arange(size)[~leaf]
    children = np.concatenate([left[~leaf], right[~leaf]])
    parents = np.concatenate([numbers, numbers])
    if not size or not ((children > parents) & (children < size)).all():
        raise ModelRejected("a tree has a node that leads nowhere")


def _check_features(used: Any, width: int) -> None:
    if not ((used >= 0) & (used < width)).all():
        raise ModelRejected("a tree uses a feature that does not exist")


def _check_width(held: Any, tree: Any) -> None:
    if held.n_features_in_ != tree.n_features:
        raise ModelRejected("a tree has another number of features than its estimator")
