"""From a task to a fitted estimator, and how good it is. Knows nothing of the files that serving reads."""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    mean_absolute_error,
    precision_recall_fscore_support,
    r2_score,
)
from sklearn.model_selection import train_test_split

from model_service.errors import TrainingFailed
from model_service.task import Task


@dataclass(frozen=True)
class Fitted:
    """A fitted estimator and its task. Of the task's rows, some were used for training, and the others were held back."""

    task: Task
    seed: int
    estimator: Any
    rows: np.ndarray[Any, Any]
    answers: np.ndarray[Any, Any]
    training_rows: np.ndarray[Any, Any]
    held_back_rows: np.ndarray[Any, Any]
    held_back_answers: np.ndarray[Any, Any]

    @property
    def is_classifier(self) -> bool:
        """Whether it is a classifier; if not, it is a regressor."""
        return bool(is_classifier(self.estimator))

    @property
    def classes(self) -> list[Any]:
        """The classes in sorted order; empty for a regressor."""
        return list(self.estimator.classes_) if self.is_classifier else []

    @property
    def labels(self) -> list[str]:
        """A name for each class. Raises TrainingFailed if the task has more or fewer names than classes."""
        classes = self.classes
        if self.task.labels and len(self.task.labels) != len(classes):
            raise TrainingFailed(f"{len(self.task.labels)} labels for {len(classes)} classes")
        return list(self.task.labels) or [str(value) for value in classes]


def load_task(name: str, seed: int) -> Task:
    """The task that a module makes. Raises TrainingFailed."""
    try:
        module = importlib.import_module(name)
    except ImportError as exc:
        raise TrainingFailed(f"no task module {name}: {exc}", hint="--task takes a dotted module name") from exc
    if not callable(getattr(module, "task", None)):
        raise TrainingFailed(f"the module {name} has no task(seed)", hint="model_service/task.py says what a task is")
    task = module.task(seed)
    if not isinstance(task, Task):
        raise TrainingFailed(f"{name}.task(seed) returned {type(task).__name__}, not a Task")
    return task


def fit(task: Task, *, seed: int) -> Fitted:
    """Splits the task's rows (75% for training, 25% held back) by the seed, and fits its estimator. Raises TrainingFailed."""
    rows, answers = _data(task)
    given = task.estimator if isinstance(task.estimator, BaseEstimator) else None
    if given is None or not (is_classifier(given) or is_regressor(given)):
        raise TrainingFailed(f"{type(task.estimator).__name__} is neither a classifier nor a regressor")
    strata = answers if is_classifier(given) else None
    try:
        training_rows, held_back_rows, training_answers, held_back_answers = train_test_split(
            rows, answers, test_size=0.25, random_state=seed, stratify=strata
        )
    except ValueError as exc:
        raise TrainingFailed(f"the data cannot be split: {exc}") from exc
    if np.isnan(training_rows).all(axis=0).any():
        raise TrainingFailed("the training rows have a column without any value")
    try:
        estimator = task.estimator.fit(training_rows, training_answers)
    except Exception as exc:  # an estimator may raise anything about its data
        raise TrainingFailed(f"{type(given).__name__} cannot learn these rows: {type(exc).__name__}: {exc}") from exc
    return Fitted(task, seed, estimator, rows, answers, training_rows, held_back_rows, held_back_answers)


def _data(task: Task) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    try:
        rows, answers = np.asarray(task.rows, dtype=np.float64), np.asarray(task.answers)
    except (ValueError, TypeError) as exc:
        raise TrainingFailed(
            f"the rows are not numbers: {exc}", hint="encode categories as numbers in the task"
        ) from exc
    if rows.ndim != 2 or answers.ndim != 1 or len(rows) != len(answers):
        raise TrainingFailed(f"rows {rows.shape} and answers {answers.shape} have other shapes than (n, d) and (n,)")
    if len(task.features) != rows.shape[1]:
        raise TrainingFailed(f"the task names {len(task.features)} features, its rows have {rows.shape[1]}")
    if np.isinf(rows).any():
        raise TrainingFailed("the rows have infinite values")
    return rows, answers


def measure(fitted: Fitted) -> dict[str, Any]:
    """How good the estimator is on the rows that were held back."""
    predicted = fitted.estimator.predict(fitted.held_back_rows)
    if not fitted.is_classifier:
        return {
            "r2": float(r2_score(fitted.held_back_answers, predicted)),
            "mean_absolute_error": float(mean_absolute_error(fitted.held_back_answers, predicted)),
        }
    classes = fitted.estimator.classes_
    precision, recall, _, support = precision_recall_fscore_support(
        fitted.held_back_answers, predicted, labels=classes, zero_division=0.0
    )
    labels = fitted.labels
    return {
        "accuracy": float(accuracy_score(fitted.held_back_answers, predicted)),
        "confusion_matrix": confusion_matrix(fitted.held_back_answers, predicted, labels=classes).tolist(),
        "per_class": {
            label: {"precision": float(precision[k]), "recall": float(recall[k]), "rows": int(support[k])}
            for k, label in enumerate(labels)
        },
    }


def check_quality(metrics: dict[str, Any], *, bar: float, beat: Path | None) -> None:
    """Raises TrainingFailed if the score is under the bar, or worse than in the manifest `beat`."""
    name = "accuracy" if "accuracy" in metrics else "r2"
    if metrics[name] < bar:
        raise TrainingFailed(
            f"{name} is {metrics[name]:.4f} on the rows held back, under the bar of {bar:.4f}",
            hint="nothing was written; improve the model or lower --min-accuracy (--min-r2)",
        )
    if beat is None:
        return
    try:
        earlier = json.loads(beat.read_bytes())["metrics"][name]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise TrainingFailed(f"{beat} is not a manifest with {name} to compare with: {exc!r}") from exc
    if metrics[name] < earlier:
        raise TrainingFailed(
            f"{name} is {metrics[name]:.4f} on the rows held back, worse than the {earlier:.4f} of {beat}",
            hint="nothing was written; the earlier model is better",
        )
