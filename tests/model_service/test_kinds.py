"""Every kind of model in docs/models.md answers as its estimator does in process, bit by bit, after it was written and loaded."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_service import train
from model_service.errors import ModelRejected, TrainingFailed
from model_service.fitting import Fitted, fit
from model_service.model import Model, Prediction, load
from model_service.quality import measure
from tests.model_service.kinds import BOOSTERS, KINDS, REFUSED, TRUST, TRUSTING


def written(task: Any, out: Path) -> Fitted:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = fit(task, seed=0)
        train.write(fitted, out, form="auto", metrics=measure(fitted))
    return fitted


def assert_equal(fitted: Fitted, model: Model, rows: Any) -> None:
    predictions = model.predict(fitted.data.cells(rows))
    expected = fitted.estimator.predict(rows)
    if fitted.kind == "multi_output":
        for k in range(len(fitted.outputs)):
            assert_equal_output(fitted, [one.outputs[k] for one in predictions], expected[:, k], k)
    else:
        assert_equal_output(fitted, predictions, expected, None)
    for name, given in (
        ("predict_proba", [one.probabilities for one in predictions]),
        ("decision_function", [one.decision for one in predictions]),
    ):
        if any(given):
            exact = np.asarray(getattr(fitted.estimator, name)(rows)).reshape(len(given), -1)
            if model.manifest.format == "trees" and "Boosting" in model.manifest.estimator.type:
                np.testing.assert_allclose(given, exact, rtol=1e-12)  # exp() of another library
            else:
                assert np.array_equal(np.asarray(given), exact)


def assert_equal_output(fitted: Fitted, predictions: Sequence[Prediction], expected: Any, k: int | None) -> None:
    classes = fitted.classes if k is None else fitted.outputs[k].classes
    given = [classes[one.class_index] if classes else one.value for one in predictions]
    assert given == expected.ravel().tolist()  # CatBoost gives a column
    for one in predictions[:3]:
        json.loads(one.json)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS | BOOSTERS)
def test_answers_equal_the_estimators_own_bit_by_bit(name: str, tmp_path: Path) -> None:
    make, form = (KINDS | BOOSTERS)[name]
    fitted = written(make(0), tmp_path)
    model = load(tmp_path, trusted=TRUST)
    assert model.manifest.format == form
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_equal(fitted, model, fitted.held_back_rows)
        for k in range(3):
            assert_equal(fitted, model, fitted.held_back_rows[k : k + 1])


@pytest.mark.slow
@pytest.mark.parametrize("name", TRUSTING)
def test_types_that_are_not_trusted_are_named_and_load_when_the_user_trusts_them(name: str, tmp_path: Path) -> None:
    make, types = TRUSTING[name]
    fitted = written(make(0), tmp_path)
    with pytest.raises(ModelRejected, match="not trusted") as refused:
        load(tmp_path)
    assert all(one in refused.value.message for one in types)
    assert_equal(fitted, load(tmp_path, trusted=types), fitted.held_back_rows)


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_cannot_be_served_is_refused_at_training(name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(TrainingFailed, match=words):
        fit(make(0), seed=0)


def test_the_page_about_models_names_every_kind_and_its_format() -> None:
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    missing = [name for name, (_, form) in (KINDS | BOOSTERS).items() if f"| {name} | {form} |" not in page]
    missing += [name for name in TRUSTING | REFUSED if f"| {name} |" not in page]
    assert missing == []
