"""Whether a model that was written and loaded predicts what its estimator does. Used in training only."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from model_service.errors import RequestRejected, TrainingFailed
from model_service.fitting import Fitted, can_predict, quiet
from model_service.model import Model, Prediction

_ALONE = 50  # rows that are also predicted one by one, which may be another way than that of many rows


def check_predictions(fitted: Fitted, loaded: Model) -> None:
    """The loaded model must predict every row of the data as the estimator does. Raises TrainingFailed."""
    every = fitted.data.cells(fitted.rows)
    if can_predict(fitted.estimator, fitted.rows):
        _compare(fitted, loaded, fitted.rows, every)
    for k, row in enumerate(every[:_ALONE]):
        one = fitted.rows[k : k + 1]
        if can_predict(fitted.estimator, one):
            _compare(fitted, loaded, one, [row])


def _compare(fitted: Fitted, loaded: Model, rows: Any, cells: Sequence[Any]) -> None:
    with quiet():
        expected = np.asarray(fitted.estimator.predict(rows))
        try:
            predictions = loaded.predict(cells)
        except RequestRejected as exc:
            raise TrainingFailed(f"the written model does not predict what the estimator does: {exc.message}") from exc
    given = _values(fitted, predictions)
    if given.dtype.kind == "f":
        agree = bool(np.allclose(given, expected.reshape(given.shape), rtol=1e-12, atol=0.0))
    else:
        agree = bool(np.array_equal(given, expected.reshape(given.shape)))
    if not agree:
        raise TrainingFailed("the written model does not predict what the estimator does", hint="use --format skops")


def _values(fitted: Fitted, predictions: Sequence[Prediction]) -> Any:
    """The result of the estimator's `predict` for these predictions."""
    if fitted.kind == "classifier":
        return np.asarray(fitted.estimator.classes_)[[prediction.class_index for prediction in predictions]]
    if fitted.kind != "multi_output":
        return np.asarray([prediction.value for prediction in predictions])
    columns = []
    for k, output in enumerate(fitted.outputs):
        if output.kind == "regressor":
            columns.append(np.asarray([prediction.outputs[k].value for prediction in predictions]))
        else:
            columns.append(
                np.asarray(output.classes)[[prediction.outputs[k].class_index for prediction in predictions]]
            )
    return np.column_stack(columns)
