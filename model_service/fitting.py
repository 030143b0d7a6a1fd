"""From a task to a fitted estimator. Knows nothing of how good it is, nor of the files that serving reads."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import sklearn
from sklearn.base import BaseEstimator, clone, is_classifier, is_clusterer, is_outlier_detector, is_regressor
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.model_selection._search import BaseSearchCV

from model_service import data
from model_service.boosters import package_of
from model_service.errors import TrainingFailed, in_words
from model_service.manifest import Feature, Kind, Output
from model_service.task import Task


@dataclass(frozen=True)
class Fitted:
    """A fitted estimator and its task. Of the task's rows, some were used for training, and the others were held back."""

    task: Task
    seed: int
    kind: Kind
    estimator: Any
    data: data.Data
    features: list[Feature]
    training_rows: Any
    held_back_rows: Any
    held_back_answers: Any
    width: int = 1  # the number of outputs, if there are no answers

    @property
    def rows(self) -> Any:
        """All rows of the task."""
        return self.data.rows

    @property
    def answers(self) -> Any:
        """All answers of the task."""
        return self.data.answers

    @property
    def is_classifier(self) -> bool:
        """Whether it is a classifier with one output."""
        return self.kind == "classifier"

    @property
    def classes(self) -> list[Any]:
        """The classes in sorted order; empty for what is no classifier."""
        return _class_values(self.estimator.classes_) if self.is_classifier else []

    @property
    def labels(self) -> list[str]:
        """A name for each class. Raises TrainingFailed if the task has more or fewer names than classes."""
        if self.kind == "multi_output":
            return []
        classes = self.classes
        if self.task.labels and len(self.task.labels) != len(classes):
            raise TrainingFailed(f"{len(self.task.labels)} labels for {len(classes)} classes")
        return list(self.task.labels) or [str(value) for value in classes]

    @cached_property
    def outputs(self) -> list[Output]:
        """The outputs of an estimator with several. Raises TrainingFailed if the task has more or fewer names for them."""
        if self.kind != "multi_output":
            return []
        known: Any = getattr(self.estimator, "classes_", None)
        width = self.answers.shape[1] if self.answers is not None else self.width
        names = list(self.task.labels) or [str(name) for name in getattr(self.task.answers, "columns", range(width))]
        if len(names) != width or len(set(names)) != width:
            raise TrainingFailed(f"{len(set(names))} labels for {width} outputs: each needs a name of its own")
        if is_regressor(self.estimator):
            return [Output(name=name, kind="regressor") for name in names]
        made = []
        for k, name in enumerate(names):
            classes = _class_values(np.unique(self.answers[:, k]) if self.answers is not None else known[k])
            probabilistic = hasattr(self.estimator, "predict_proba")
            labels = [str(value) for value in classes]
            made.append(
                Output(name=name, kind="classifier", probabilistic=probabilistic, classes=classes, labels=labels)
            )
        return made


def fit(task: Task, *, seed: int) -> Fitted:
    """Splits the task's rows (75% for training, 25% held back) by the seed, and fits its estimator. Raises TrainingFailed."""
    read = data.read(task)
    kind = _kind(task.estimator, read.answers)
    training_rows, held_back_rows, training_answers, held_back_answers = _split(kind, read, seed)
    features = data.describe(read.features, training_rows, read.rows)
    estimator = unwrapped(_fit(task.estimator, training_rows, training_answers))
    features = with_unknown(features, estimator, read.cells(training_rows[:1]))
    return Fitted(task, seed, kind, estimator, read, features, training_rows, held_back_rows, held_back_answers)


def fit_all(fitted: Fitted) -> Fitted:
    """The same estimator fitted with all rows, also those that were held back. Raises TrainingFailed."""
    features = data.describe(fitted.data.features, fitted.rows, fitted.rows)
    estimator = _fit(clone(fitted.estimator), fitted.rows, fitted.answers)
    features = with_unknown(features, estimator, fitted.data.cells(fitted.rows[:1]))
    return replace(fitted, estimator=estimator, features=features)


def unwrapped(estimator: Any) -> Any:
    """The estimator that predicts: the best one of a search, the one that a FrozenEstimator holds. Raises TrainingFailed."""
    while isinstance(estimator, (BaseSearchCV, FrozenEstimator)):
        if isinstance(estimator, FrozenEstimator):
            estimator = estimator.estimator
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            raise TrainingFailed(f"{type(estimator).__name__} has no best estimator", hint="leave refit on")
    return estimator


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of an estimator about its rows."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _kind(estimator: Any, answers: Any) -> Kind:
    _check_is_estimator(estimator)
    name = type(estimator).__name__
    if is_outlier_detector(estimator) or is_clusterer(estimator):
        _check_predicts(estimator)
        return "outlier_detector" if is_outlier_detector(estimator) else "clusterer"
    if not (is_classifier(estimator) or is_regressor(estimator)):
        raise TrainingFailed(f"{name} is neither a classifier nor a regressor, a clusterer or an outlier detector")
    if answers is None:
        raise TrainingFailed(f"the task has no answers; {name} learns from answers")
    if answers.ndim == 2:
        return "multi_output"
    if is_regressor(estimator):
        return "regressor"
    if len(np.unique(answers)) < 2:
        raise TrainingFailed(f"all answers are {answers[0].item()!r}: a classifier needs at least two classes")
    return "classifier"


def _check_is_estimator(estimator: Any) -> None:
    if isinstance(estimator, type):
        name = estimator.__name__
        raise TrainingFailed(f"the estimator is the class {name} itself", hint=f"make one: {name}()")
    if not isinstance(estimator, BaseEstimator) and package_of(estimator) is None:
        name = type(estimator).__name__
        raise TrainingFailed(f"{name} is no estimator of scikit-learn", hint="it is derived from BaseEstimator")


def _check_predicts(estimator: Any) -> None:
    if not hasattr(estimator, "predict"):
        name = type(estimator).__name__
        hint = _NO_PREDICT.get(name, "choose an estimator with predict()")
        raise TrainingFailed(f"{name} cannot predict new rows", hint=hint)


_NO_PREDICT = {"LocalOutlierFactor": "set novelty=True", "DBSCAN": "fit a classifier on its labels_"}


def _split(kind: Kind, read: data.Data, seed: int) -> Sequence[Any]:
    strata = read.answers if kind == "classifier" else None
    parts = [read.rows] if read.answers is None else [read.rows, read.answers]
    try:
        split = train_test_split(*parts, test_size=0.25, random_state=seed, stratify=strata)
    except ValueError as exc:
        raise TrainingFailed(f"the data cannot be split: {in_words(exc)}") from exc
    return split if read.answers is not None else [*split, None, None]


def _fit(estimator: Any, rows: Any, answers: Any) -> Any:
    try:
        return estimator.fit(rows, answers)
    except Exception as exc:  # an estimator may raise anything about its data
        name = type(estimator).__name__
        raise TrainingFailed(f"{name} cannot learn these rows: {in_words(exc)}") from exc


def with_unknown(features: list[Feature], estimator: Any, cells: list[list[Any]]) -> list[Feature]:
    """The features, each category with whether the estimator also answers for other values. It is asked to find out."""
    if not any(feature.type == "category" for feature in features):
        return features
    from model_service.frames import FrameMaker  # noqa: PLC0415  # pandas is there, since there is a DataFrame

    found = []
    for k, feature in enumerate(features):
        takes = False
        if feature.type == "category":
            opened = [*features[:k], feature.model_copy(update={"unknown": True}), *features[k + 1 :]]
            row = [*cells[0][:k], _unseen(feature), *cells[0][k + 1 :]]
            takes = can_predict(estimator, FrameMaker(opened).frame([row]))
        found.append(feature.model_copy(update={"unknown": takes}))
    return found


def can_predict(estimator: Any, rows: Any) -> bool:
    """Whether the estimator has an answer for these rows."""
    with quiet(), sklearn.config_context(assume_finite=False):
        try:
            estimator.predict(rows)
        except Exception:  # noqa: BLE001  # an estimator may raise anything about its data
            return False
    return True


def _unseen(feature: Feature) -> Any:
    numbers = [value for value in feature.categories if isinstance(value, (int, float))]
    return max(numbers) + 1 if numbers else "a value that was never seen"


def _class_values(values: Any) -> list[Any]:
    """Classes as JSON can say them. Raises TrainingFailed for others."""
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    for value in plain:
        if not isinstance(value, (bool, int, float, str)):
            raise TrainingFailed(
                f"the class {value!r:.40} is neither text nor a number nor a boolean", hint="make the answers texts"
            )
    return plain
