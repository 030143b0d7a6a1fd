"""Compiled trees from a file: each is checked before it is used, however deep it lies in the estimator."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import Tree

from model_service.errors import ModelRejected
from model_service.tree_check import check_trees

FLOWERS = load_iris()


def forged(tree: Any, change: Callable[[Any], None]) -> Any:
    """The tree with other nodes, as a file can have it."""
    constructor, arguments, state = tree.__reduce__()
    state["nodes"] = state["nodes"].copy()
    change(state["nodes"])
    made = constructor(*arguments)
    made.__setstate__(state)
    assert isinstance(made, Tree)
    return made


def put(field: str, value: int) -> Callable[[Any], None]:
    def change(nodes: Any) -> None:
        nodes[field][0] = value

    return change


FORGED = {
    "a child beyond the end": put("left_child", 9_999),
    "a child that is its parent": put("right_child", 0),
    "a negative child": put("right_child", -5),
    "a feature that does not exist": put("feature", 9_999),
    "a negative feature": put("feature", -3),
}


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_a_forged_tree_is_refused_wherever_it_is(change: Callable[[Any], None]) -> None:
    forest = RandomForestClassifier(3, random_state=0)
    estimator = make_pipeline(StandardScaler(), VotingClassifier([("forest", forest)])).fit(
        FLOWERS.data, FLOWERS.target
    )
    check_trees(estimator)
    held = estimator[-1].estimators_[0].estimators_[1]
    held.tree_ = forged(held.tree_, change)
    with pytest.raises(ModelRejected, match="a tree"):
        check_trees(estimator)


def test_a_tree_that_claims_to_be_less_deep_than_it_is_is_refused() -> None:
    """The array for the way of a row is as long as the tree claims to be deep, and scikit-learn would write beyond its end."""
    estimator = DecisionTreeClassifier(random_state=0).fit(FLOWERS.data, FLOWERS.target)
    constructor, arguments, state = estimator.tree_.__reduce__()
    shallow = constructor(*arguments)
    shallow.__setstate__(state | {"max_depth": state["max_depth"] - 1})
    check_trees(estimator)
    estimator.tree_ = shallow
    with pytest.raises(ModelRejected, match="deeper than it claims"):
        check_trees(estimator)


@pytest.mark.parametrize("kind", [DecisionTreeClassifier, GradientBoostingClassifier])
def test_an_estimator_that_claims_another_width_than_its_trees_is_refused(kind: Any) -> None:
    estimator = kind(random_state=0).fit(FLOWERS.data, FLOWERS.target)
    check_trees(estimator)
    estimator.n_features_in_ = 2
    with pytest.raises(ModelRejected, match="another number of features"):
        check_trees(estimator)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value"), [("left", 9_999), ("right", 0), ("feature_idx", 99), ("feature_idx", -1), ("is_categorical", 1)]
)
def test_a_forged_histogram_boosting_is_refused(field: str, value: int) -> None:
    estimator = HistGradientBoostingClassifier(max_iter=2, random_state=0).fit(FLOWERS.data, FLOWERS.target)
    check_trees(estimator)
    nodes = estimator._predictors[1][2].nodes
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    nodes[field][inner[0]] = value
    with pytest.raises(ModelRejected):
        check_trees(estimator)


def by_category() -> Any:
    """A boosting with a split by category, and the first such node."""
    rows = np.column_stack([FLOWERS.data[:, 0], np.arange(150) % 4])
    estimator = HistGradientBoostingClassifier(max_iter=2, categorical_features=[1], random_state=0)
    estimator.fit(rows, np.arange(150) % 4 % 2)
    check_trees(estimator)
    return estimator


def a_set_beyond_the_end(estimator: Any) -> None:
    estimator._predictors[0][0].nodes["bitset_idx"][0] = 99


def a_set_that_is_too_short(estimator: Any) -> None:
    predictor = estimator._predictors[0][0]
    predictor.raw_left_cat_bitsets = predictor.raw_left_cat_bitsets[:, :2].copy()


def a_split_of_numbers(estimator: Any) -> None:
    estimator._bin_mapper.is_categorical_ = np.zeros(2, dtype=bool)


def a_step_that_leaves_columns_out(estimator: Any) -> None:
    estimator._preprocessor.transformers_[1] = ("numerical", "drop", estimator._preprocessor.transformers_[1][2])


def another_function_before_the_trees(estimator: Any) -> None:
    estimator._preprocessor.transformers_[1][1].func = np.log


@pytest.mark.slow
@pytest.mark.parametrize(
    "forge",
    [
        a_set_beyond_the_end,
        a_set_that_is_too_short,
        a_split_of_numbers,
        a_step_that_leaves_columns_out,
        another_function_before_the_trees,
    ],
)
def test_a_forged_boosting_that_splits_by_category_is_refused(forge: Callable[[Any], None]) -> None:
    estimator = by_category()
    assert estimator._predictors[0][0].nodes["is_categorical"][0]
    forge(estimator)
    with pytest.raises((ModelRejected, ValueError)):
        check_trees(estimator)
