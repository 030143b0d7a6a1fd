"""Trees as arrays: they predict the same as scikit-learn, and damaged ones are refused."""

import copy
import dataclasses
import functools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_service.columns import LARGEST
from model_service.errors import ModelRejected
from model_service.export import as_trees
from model_service.fitting import Fitted, fit
from model_service.trees import Tree, Trees
from tests.model_service.tasks import TREES

Matrix = np.ndarray[Any, Any]


@pytest.fixture(scope="module", params=TREES)
def fitted(request: pytest.FixtureRequest) -> Fitted:
    return fit(TREES[request.param](0), seed=0)


@pytest.fixture(scope="module")
def trees(fitted: Fitted) -> Trees:
    return write_and_read(fitted)


def write_and_read(fitted: Fitted) -> Trees:
    """The trees after they were written as JSON and read again."""
    trees = as_trees(fitted.estimator)
    assert trees is not None
    return Trees.parse(json.loads(json.dumps(trees.document())), features=fitted.rows.shape[1])


def rows_at_thresholds(fitted: Fitted, trees: Trees) -> Matrix:
    """Rows with values on a threshold, and one float32 step and one float64 step beside it."""
    base = np.nan_to_num(fitted.rows[0])
    rows = []
    for tree in trees.trees[:5]:
        for feature, threshold in zip(tree.feature, tree.threshold, strict=True):
            if feature < 0 or abs(threshold) > LARGEST:
                continue
            single = np.float32(threshold)
            for value in (
                threshold,
                np.nextafter(threshold, np.inf),
                np.nextafter(threshold, -np.inf),
                np.nextafter(single, np.float32(np.inf)),
                np.nextafter(single, np.float32(-np.inf)),
                single,
            ):
                rows.append(base.copy())
                rows[-1][feature] = value
    return np.asarray(rows)


def rows_on_a_grid(fitted: Fitted) -> Matrix:
    """A grid over the two features with the widest ranges; the other features are as in the first row."""
    low, high = np.nanmin(fitted.rows, axis=0), np.nanmax(fitted.rows, axis=0)
    widest = np.argsort(high - low)[-2:]
    rows = np.repeat(np.nan_to_num(fitted.rows[:1]), 40 * 40, axis=0)
    steps = np.meshgrid(*(np.linspace(low[k] - 1, high[k] + 1, 40) for k in widest))
    for k, column in zip(widest, steps, strict=True):
        rows[:, k] = column.ravel()
    return rows


def assert_same(fitted: Fitted, trees: Trees, rows: Matrix) -> None:
    """Classes and scores must be equal, and probabilities after exp() equal within rounding errors."""
    scores = [trees.scores(row, has_missing=True) for row in rows.astype(np.float32).tolist()]
    if not fitted.is_classifier:
        assert [score[0] for score in scores] == fitted.estimator.predict(rows).tolist()
        return
    classes = fitted.estimator.classes_[[trees.best_class(score) for score in scores]]
    assert classes.tolist() == fitted.estimator.predict(rows).tolist()
    probabilities = np.asarray([trees.probabilities(score) for score in scores])
    expected = fitted.estimator.predict_proba(rows)
    if trees.link == "identity":
        assert np.array_equal(probabilities, expected)
    else:
        assert np.array_equal(np.ravel(scores), fitted.estimator.decision_function(rows).ravel())
        np.testing.assert_allclose(probabilities, expected, rtol=1e-12, atol=1e-300)


@pytest.mark.slow
def test_predictions_equal_scikit_learns_on_the_data_on_a_grid_and_at_thresholds(fitted: Fitted, trees: Trees) -> None:
    for rows in (fitted.rows, rows_on_a_grid(fitted), rows_at_thresholds(fitted, trees)):
        assert_same(fitted, trees, rows)


@functools.cache
def fit_once(name: str) -> tuple[Fitted, Trees]:
    fitted = fit(TREES[name](0), seed=0)
    return fitted, write_and_read(fitted)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=60)
def test_predictions_equal_scikit_learns_on_any_row(data: st.DataObject) -> None:
    fitted, trees = fit_once(data.draw(st.sampled_from(sorted(TREES))))
    number = st.floats(-LARGEST, LARGEST, allow_nan=False)
    width = fitted.rows.shape[1]
    rows = data.draw(st.lists(st.lists(number, min_size=width, max_size=width), min_size=1, max_size=5))
    with np.errstate(all="ignore"):  # scikit-learn checks that rows are finite by their float32 sum, which may overflow
        assert_same(fitted, trees, np.asarray(rows))


def test_without_rounding_to_float32_some_rows_at_thresholds_get_another_prediction() -> None:
    fitted = fit(TREES["tree"](0), seed=0)
    trees = write_and_read(fitted)
    rows = rows_at_thresholds(fitted, trees)
    unrounded = [trees.best_class(trees.scores(row)) for row in rows.tolist()]
    assert unrounded != fitted.estimator.predict(rows).tolist()


def a_document() -> dict[str, Any]:
    tree = Tree([0, 1, -1, -1, -1], [0.5, 1.5, 0.0, 0.0, 0.0], [1, 2, -1, -1, -1], [4, 3, -1, -1, -1], [False] * 5, [])
    leaves: list[tuple[float, ...]] = [(), (), (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]
    trees = Trees("mean", "identity", 2, [dataclasses.replace(tree, value=leaves)])
    return json.loads(json.dumps(trees.document()))  # type: ignore[no-any-return]


FORGED = {
    "a child that is its own parent": ("left", 1, 1),
    "a child before its parent": ("left", 1, 0),
    "a child beyond the end": ("right", 0, 99),
    "a child with two parents": ("right", 1, 2),
    "a child that is not a number": ("left", 0, "1"),
    "a child that is true": ("left", 0, True),
    "a feature that does not exist": ("feature", 0, 2),
    "a negative feature": ("feature", 0, -2),
    "a leaf without a value": ("value", 2, []),
    "a leaf with text": ("value", 2, ["1", "0"]),
    "an infinite threshold": ("threshold", 0, float("inf")),
    "a threshold that is too large": ("threshold", 0, 10**400),
    "a null threshold": ("threshold", 0, None),
    "a direction that is a number": ("missing_left", 0, 1),
}


@pytest.mark.parametrize(("column", "node", "value"), FORGED.values(), ids=FORGED.keys())
def test_a_forged_tree_is_refused(column: str, node: int, value: Any) -> None:
    document = a_document()
    Trees.parse(copy.deepcopy(document), features=2)
    document["trees"][0][column][node] = value
    with pytest.raises(ModelRejected):
        Trees.parse(document, features=2)


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=10,
)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=100)
def test_a_damaged_document_is_refused_or_gives_trees_that_predict(data: st.DataObject) -> None:
    document = a_document()
    for _ in range(data.draw(st.integers(1, 3))):
        where: Any = document
        while isinstance(where, (dict, list)) and where:
            key = data.draw(st.sampled_from(sorted(where) if isinstance(where, dict) else range(len(where))))
            if not isinstance(where[key], (dict, list)) or data.draw(st.booleans()):
                where[key] = data.draw(any_json)
                break
            where = where[key]
    try:
        trees = Trees.parse(document, features=2)
    except ModelRejected:
        return
    assert len(trees.probabilities(trees.scores([0.0, 2.0]))) >= 1
