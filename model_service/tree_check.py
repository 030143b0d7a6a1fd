"""Checks the compiled trees in an estimator that was read from a file. A forged one would read beyond its arrays and crash the
process, so no tree is used before each of its nodes leads onwards to nodes and features that exist.
"""

import gc
from collections.abc import Iterator
from functools import partial
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder
from sklearn.tree._tree import Tree
from sklearn.utils.validation import check_array

from model_service.errors import ModelRejected

CHECKED = ("sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor")
_WITHOUT_DATA = (type, ModuleType, FunctionType, BuiltinFunctionType, str, bytes, int, float, np.generic, np.dtype)


def check_trees(estimator: Any) -> None:
    """Checks every tree that the estimator holds, however deep. Raises ModelRejected."""
    for held in held_by(estimator):
        if isinstance(held, Tree):
            _check_tree(held)
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


def _check_tree(held: Any) -> None:
    _check_children(held.children_left, held.children_right, held.children_left == -1)
    _check_features(held.feature[held.children_left != -1], held.n_features)
    # The way of a row is written into an array that is as long as the tree claims to be deep. The root has the depth 1 here.
    if held.compute_node_depths().max() - 1 > held.max_depth:
        raise ModelRejected("a tree is deeper than it claims")


def _check_predictor(held: Any) -> None:
    nodes = held.nodes
    inner = nodes["is_leaf"] == 0
    by_category = nodes["is_categorical"].astype(bool)
    known = held.raw_left_cat_bitsets
    # A category takes 8 bits, so each set has 8 words of 32.
    if by_category.any() and not (
        known.dtype == np.uint32 and known.shape[1:] == (8,) and (nodes["bitset_idx"][by_category] < len(known)).all()
    ):
        raise ModelRejected("a tree splits by categories that do not exist")
    _check_children(nodes["left"].astype(np.int64), nodes["right"].astype(np.int64), ~inner)
    if (nodes["feature_idx"] < 0).any():
        raise ModelRejected("a tree uses a feature that does not exist")


def _check_histogram_boosting(held: Any) -> None:
    if held._preprocessor is not None:  # noqa: SLF001  # as below
        _check_preprocessor(held)
    for stage in held._predictors:  # noqa: SLF001  # there is no public name
        for predictor in stage:
            inner = predictor.nodes["is_leaf"] == 0
            _check_features(predictor.nodes["feature_idx"][inner], held.n_features_in_)
            by_category = predictor.nodes["is_categorical"].astype(bool)
            if not held._bin_mapper.is_categorical_[predictor.nodes["feature_idx"][by_category]].all():  # noqa: SLF001
                raise ModelRejected("a tree splits a column of numbers by categories")


def _check_preprocessor(held: Any) -> None:
    """Check the preprocessor before trees with categories: it gives each category one code, and leaves numbers as they are."""
    used = [part for part in held._preprocessor.transformers_ if part[1] != "drop"]  # noqa: SLF001
    (_, encoder, coded), (_, plain, rest), *more = used
    is_fitted = type(held._preprocessor) is ColumnTransformer and not more and type(encoder) is OrdinalEncoder  # noqa: SLF001
    is_plain = type(plain) is FunctionTransformer and type(plain.func) is partial and plain.func.func is check_array
    width = len(encoder.categories_) + int(np.sum(rest))
    if not (is_fitted and is_plain and np.sum(coded) == len(encoder.categories_) and width == held.n_features_in_):
        raise ModelRejected("a boosting has another step before its trees than one for each column")


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
