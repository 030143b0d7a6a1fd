"""Mistakes in a task: each is one line that says what is wrong and where, never a traceback."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from model_service import train
from model_service.errors import TrainingFailed
from model_service.fitting import fit, fit_all
from model_service.quality import measure
from model_service.task import Task
from model_service.task_module import check
from tests.model_service.kinds import flowers

GOOD = flowers(DecisionTreeClassifier(max_depth=2))


def gaps() -> Any:
    """A missing value in one of the rows that are held back with seed 0."""
    rows = load_iris().data.copy()
    held_back = fit(GOOD, seed=0).held_back_rows[0]
    rows[(rows == held_back).all(axis=1), 2] = np.nan
    return rows


def train_task(task: Task, out: Path) -> None:
    check(task)
    fitted = fit(task, seed=0)
    train.write(fitted, out, form="auto", metrics=measure(fitted))


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "a name with a space": ({"name": "my iris"}, "'my iris' is not a valid name for a model"),
    "duplicate features": ({"features": ("a", "b", "c", "a")}, "2 features have the name 'a'"),
    "an empty feature": ({"features": ("a", "b", "c", "")}, "the feature '' needs a name"),
    "features that are numbers": ({"features": (0, 1, 2, 3)}, "the feature 0 is no text"),
    "labels that are numbers": ({"labels": (0, 1, 2)}, "the label 0 is no text"),
    "labels that repeat": ({"labels": ("a", "b", "a")}, "the label 'a' is there twice"),
    "too few labels": ({"labels": ("a", "b")}, "2 labels for 3 classes"),
    "one class": ({"answers": np.zeros(150)}, "at least two classes"),
    "missing answers": ({"answers": np.full(150, np.nan)}, "some answers are missing"),
    "missing values only in the rows held back": (
        {"rows": gaps(), "estimator": LogisticRegression(max_iter=500)},
        "cannot predict the rows held back",
    ),
    "too few units": ({"units": ("cm",)}, "1 units for 4 features"),
    "a lambda": (
        {"estimator": make_pipeline(FunctionTransformer(lambda rows: rows * 2), LogisticRegression(max_iter=500))},
        "cannot be written",
    ),
    "columns that are numbers": ({"rows": pd.DataFrame(GOOD.rows), "features": ()}, "has no text as its name"),
    "columns of time spans": (
        {"rows": pd.DataFrame({"a": pd.to_timedelta(range(150), unit="s")}), "features": ()},
        "has the type timedelta64",
    ),
    "a column of mixed objects": ({"rows": pd.DataFrame({"a": [1, "x", 2.5] * 50}), "features": ()}, "holds objects"),
    "no rows": ({"rows": np.zeros((0, 4)), "answers": np.zeros(0)}, "there is no row or no column"),
    "a class in place of an estimator": (
        {"estimator": DecisionTreeClassifier},
        "the estimator is the class DecisionTreeClassifier itself",
    ),
    "a bar that is a text": ({"bar": "0.9"}, "bar is '0.9', expected a number"),
    "labels that are nothing": ({"labels": None}, "labels is None, expected a list of texts"),
    "features that are one text": ({"features": "abcd"}, "features is 'abcd', expected a list of texts"),
    "a feature that is no Unicode": ({"features": ("a", "b", "c", "\ud800")}, "needs a name"),
    "answers that are bytes": ({"answers": GOOD.answers.astype("S1")}, "the class b'0' is neither text nor a number"),
    "whole numbers that are all missing": (
        {
            "rows": pd.DataFrame({"a": pd.Series([pd.NA] * 150, dtype="Int64")}),
            "features": (),
            "estimator": HistGradientBoostingClassifier(max_iter=2),
        },
        "the training rows have no value at all in 'a'",
    ),
    "a column without values": ({"rows": pd.DataFrame({"a": [pd.NA] * 150}), "features": ()}, "no value at all"),
}


@pytest.mark.parametrize(("changed", "words"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line(changed: dict[str, Any], words: str, tmp_path: Path) -> None:
    task = replace(GOOD, **changed)
    with pytest.raises(TrainingFailed, match=words) as failed:
        train_task(task, tmp_path / "out")
    assert "\n" not in failed.value.message
    assert not (tmp_path / "out").exists()


def test_a_task_that_raises_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken_task.py").write_text("def task(seed):\n    rows = []\n    return rows[seed]\n")
    (tmp_path / "broken_module.py").write_text("import json\njson.loads('x')\n")
    (tmp_path / "broken_syntax.py").write_text("def task(seed:\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name, words in (
        ("broken_task", "broken_task.task(0) failed: IndexError: list index out of range (broken_task.py, line 3)"),
        ("broken_module", "cannot be imported: JSONDecodeError"),
        ("broken_syntax", "cannot be imported: SyntaxError"),
    ):
        assert train.main(["--task", name, "--out", str(tmp_path / "out")]) == 1
        assert words in (printed := capsys.readouterr().err)
        assert "Traceback" not in printed
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_a_failing_run_leaves_the_model_that_was_there(tmp_path: Path) -> None:
    assert train.main(["--out", str(tmp_path)]) == 0
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(TrainingFailed):
        train_task(replace(GOOD, **MISTAKES["a lambda"][0]), tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_a_new_model_replaces_all_files_of_the_former_one(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert train.main(["--out", str(tmp_path), "--task", "tests.model_service.tasks"]) == 0
    assert train.main(["--out", str(tmp_path)]) == 0
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"model.json", "golden.json", "manifest.json", "MODEL.md", "confusion.svg", "notes.txt"}


def test_with_final_fit_all_rows_are_learnt_after_the_evaluation(tmp_path: Path) -> None:
    task = flowers(DecisionTreeClassifier(random_state=0), final_fit=True)
    fitted = fit(task, seed=0)
    metrics = measure(fitted)

    final = fit_all(fitted)
    manifest = train.write(final, tmp_path, form="auto", metrics=metrics)
    assert final.estimator.tree_.n_node_samples[0] == 150
    assert fitted.estimator.tree_.n_node_samples[0] == 112
    assert manifest.data.final_fit
    assert manifest.metrics["accuracy"] == metrics["accuracy"] < 1.0
