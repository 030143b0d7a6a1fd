"""How good a fitted estimator is on the rows that were held back, and whether that is good enough."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    mean_absolute_error,
    precision_recall_fscore_support,
    r2_score,
)

from model_service.data import is_frame
from model_service.errors import TrainingFailed, in_words
from model_service.fitting import Fitted, quiet


def measure(fitted: Fitted) -> dict[str, Any]:
    """How good the estimator is on the rows that were held back. Raises TrainingFailed if it has no answer for them."""
    predicted = _predict(fitted)
    match fitted.kind:
        case "classifier":
            return _measure_classes(fitted, predicted)
        case "regressor":
            return _measure_values(fitted.held_back_answers, predicted)
        case "multi_output":
            return _measure_outputs(fitted, predicted)
        case "clusterer":
            return {"clusters": len(np.unique(predicted))}
        case "outlier_detector":
            return {"outliers": float(np.mean(predicted == -1))}


def check_quality(metrics: dict[str, Any], *, bar: float, beat: Path | None) -> None:
    """Raises TrainingFailed if the score is under the bar, or worse than in the manifest `beat`."""
    name = next((name for name in ("accuracy", "r2") if name in metrics), None)
    if name is None:
        if bar > 0 or beat is not None:
            raise TrainingFailed("a model without answers has no score to compare", hint="leave out the bar")
        return
    if metrics[name] < bar:
        raise TrainingFailed(
            f"{name} is {metrics[name]:.4f} on the rows held back, under the bar of {bar:.4f}",
            hint="nothing was written; improve the model or lower --min-accuracy (--min-r2)",
        )
    if beat is None:
        return
    try:
        earlier = float(json.loads(beat.read_bytes())["metrics"][name])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise TrainingFailed(f"{beat} is not a manifest with {name} to compare with: {exc!r}") from exc
    if metrics[name] < earlier:
        raise TrainingFailed(
            f"{name} is {metrics[name]:.4f} on the rows held back, worse than the {earlier:.4f} of {beat}",
            hint="nothing was written; the earlier model is better",
        )


def _predict(fitted: Fitted) -> Any:
    with quiet():
        try:
            return fitted.estimator.predict(fitted.held_back_rows)
        except Exception as exc:  # an estimator may raise anything about its data
            name = type(fitted.estimator).__name__
            what = f"{name} cannot predict the rows held back: {in_words(exc)}"
            raise TrainingFailed(what, hint=_hint(fitted)) from exc


def _hint(fitted: Fitted) -> str:
    """A hint about the values that only the held-back rows have."""
    training, held_back = (_missing(rows) for rows in (fitted.training_rows, fitted.held_back_rows))
    only = [f.name for f, a, b in zip(fitted.features, training, held_back, strict=True) if b and not a]
    if only:
        names = ", ".join(map(repr, only[:5]))
        return f"there are missing values in {names}, but none in the training rows: fill them in the pipeline"
    return "the estimator must take every value that a column has, for example handle_unknown='ignore'"


def _missing(rows: Any) -> list[bool]:
    """For each column, whether a value is missing."""
    found: list[bool] = (rows.isna().any() if is_frame(rows) else np.isnan(rows).any(axis=0)).tolist()
    return found


def _measure_classes(fitted: Fitted, predicted: Any) -> dict[str, Any]:
    classes, labels, answers = fitted.estimator.classes_, fitted.labels, fitted.held_back_answers
    precision, recall, _, support = precision_recall_fscore_support(
        answers, predicted, labels=classes, average=None, zero_division=0.0
    )
    return {
        "accuracy": float(accuracy_score(answers, predicted)),
        "confusion_matrix": confusion_matrix(answers, predicted, labels=classes).tolist(),
        "per_class": {
            label: {"precision": float(precision[k]), "recall": float(recall[k]), "rows": int(support[k])}
            for k, label in enumerate(labels)
        },
    }


def _measure_values(answers: Any, predicted: Any) -> dict[str, Any]:
    return {
        "r2": float(r2_score(answers, predicted)),
        "mean_absolute_error": float(mean_absolute_error(answers, predicted)),
    }


def _measure_outputs(fitted: Fitted, predicted: Any) -> dict[str, Any]:
    """The mean over the outputs, and each of them."""
    columns = zip(fitted.outputs, fitted.held_back_answers.T, np.asarray(predicted).T, strict=True)
    if fitted.outputs[0].kind == "regressor":
        scores = {output.name: _measure_values(true, given) for output, true, given in columns}
        return {"r2": float(np.mean([score["r2"] for score in scores.values()])), "per_output": scores}
    shares = {output.name: {"accuracy": float(np.mean(true == given))} for output, true, given in columns}
    all_right = (np.asarray(predicted) == fitted.held_back_answers).all(axis=1)
    return {
        "accuracy": float(np.mean([share["accuracy"] for share in shares.values()])),
        "accuracy_of_all_outputs": float(all_right.mean()),
        "per_output": shares,
    }
