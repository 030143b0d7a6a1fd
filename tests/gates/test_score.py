"""The metrics and the paired tests, on numbers that are known."""

import json
from typing import get_args

import numpy as np
import pytest

from deployd.config import gates
from deployd.gates import score
from deployd.gates.score import Data

pytestmark = pytest.mark.slow  # scikit-learn takes a second to import


def labels(candidate: str, live: str = "", expected: str = "aabb") -> Data:
    data = Data(list(expected), numeric=False)
    data.add("candidate", list(candidate), None)
    data.add("live", list(live or candidate), None)
    return data


def test_every_metric_of_the_config_is_computed_and_no_other() -> None:
    assert set(score.METRICS) == set(get_args(gates.MetricName))
    assert score.LOWER_IS_BETTER == gates.LOWER_IS_BETTER


def test_labels_are_scored_over_all_classes_of_the_file() -> None:
    data = labels("aaab")
    assert data.figure("accuracy", "candidate") == 0.75
    assert data.figure("f1_macro", "candidate", [0, 1]) == 0.5  # the class b of the file counts with 0
    assert data.figure("recall_macro", "candidate") == 0.75


def test_scores_are_taken_by_label_or_as_that_of_the_second_class() -> None:
    data = labels("aabb")
    data.add("candidate", None, [{"a": 0.9, "b": 0.1}, {"a": 0.8, "b": 0.2}, {"b": 0.7}, {"b": 0.6}])
    data.add("live", None, [0.1, 0.2, 0.7, 0.6])
    assert data.figure("roc_auc", "candidate") == data.figure("roc_auc", "live") == 1.0
    assert data.figure("roc_auc", "candidate", [0, 1]) is None  # rows of one class
    assert data.figure("log_loss", "live") == pytest.approx(-np.mean(np.log([0.9, 0.8, 0.7, 0.6])))


def test_numbers_are_scored() -> None:
    data = Data([1.0, 2.0, 3.0], numeric=True)
    data.add("candidate", [1.0, 2.0, 5.0], None)
    assert data.figure("mae", "candidate") == pytest.approx(2 / 3)
    assert data.figure("rmse", "candidate") == pytest.approx((4 / 3) ** 0.5)
    assert data.figure("r2", "candidate", [0]) is None


def test_mcnemar_counts_only_the_rows_that_one_of_the_two_answers_right() -> None:
    found = labels("b" * 10 + "a" * 90, "a" * 100, "a" * 100).worse("accuracy", None, strict=False)
    assert found["p"] == pytest.approx(2**-10)
    assert found["lost"] == list(range(10))
    assert labels("a" * 9, expected="a" * 9).worse("accuracy", None, strict=True)["p"] == 1.0


def test_the_strict_limit_of_an_equal_model_shrinks_with_the_rows() -> None:
    limits = [labels("a" * n, expected="a" * n).worse("accuracy", None, strict=True)["limit"] for n in (30, 1000)]
    assert 0.05 < limits[0] < 0.1
    assert limits[1] < 0.003


def test_the_bootstrap_sees_a_clear_drop_and_no_drop_between_equals() -> None:
    random = np.random.default_rng(1)
    truth = random.normal(size=300)
    data = Data(truth.tolist(), numeric=True)
    data.add("live", (truth + random.normal(scale=0.5, size=300)).tolist(), None)
    data.add("candidate", (truth + random.normal(scale=0.8, size=300)).tolist(), None)
    assert data.worse("rmse", None, strict=False)["p"] < 1e-4
    data.add("candidate", (truth + random.normal(scale=0.5, size=300)).tolist(), None)
    assert data.worse("rmse", None, strict=False)["p"] > 0.01
    json.dumps(data.worse("rmse", [1, 2, 3], strict=True))
