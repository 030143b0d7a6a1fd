"""Estimators of scikit-learn as models: from checked rows to predictions. What an estimator refuses of a row is a 422.

Imported only for the models that need it, since it imports scikit-learn.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from model_service.columns import example
from model_service.errors import RequestRejected, RowRefused, in_words
from model_service.export import as_trees, total_depth
from model_service.manifest import Manifest, Output
from model_service.model import Prediction, PredictionWriter, Row, TreeModel

_NO_ANSWER = "the model has no finite answer for one of the rows"
_MOST_FEW = 64  # rows; more are always predicted by scikit-learn


class EstimatorModel:
    """Any scikit-learn estimator. A call costs much more than its rows, so merging calls is worth it."""

    costly_calls = True

    def __init__(self, manifest: Manifest, estimator: Any) -> None:
        self.manifest = manifest
        self._estimator = estimator
        self._input = _input_maker(manifest)
        transform, last = _split(estimator)
        answer = _answers(manifest, last)
        self._answer: Callable[[Any], list[Prediction]] = lambda matrix: answer(transform(matrix))
        self._trees = _few_rows_model(manifest, estimator)
        self.quick_rows = 0 if self._trees is None else self._trees.quick_rows
        self._few = 0 if self._trees is None else self._count_few(self._trees)

    def predict(self, rows: Sequence[Row]) -> list[Prediction]:
        """One prediction for each row, in order. Raises RequestRejected 422 with the words of the estimator."""
        if self._trees is not None and len(rows) <= max(self._few, self.quick_rows):
            return self._trees.predict(rows)
        return self._predict(rows)

    def _predict(self, rows: Sequence[Row]) -> list[Prediction]:
        try:
            with np.errstate(all="ignore"):
                return self._answer(self._input(rows))
        except (RequestRejected, MemoryError):
            raise
        except Exception as exc:  # an estimator may raise anything about a row
            row = None if len(rows) == 1 else self._find_refused(rows)
            # Of several refused rows, the words may be about another one.
            alone = None if row is None else self._refusal(rows[row : row + 1])
            raise RowRefused(row, in_words(alone or exc)) from exc

    def _find_refused(self, rows: Sequence[Row]) -> int:
        """The number of a row that the estimator refuses when it is alone; halves the rows until one is left."""
        first, last = 0, len(rows)
        while last - first > 1:
            middle = (first + last) // 2
            if self._refusal(rows[first:middle]) is not None:
                last = middle
            else:
                first = middle
        return first

    def _refusal(self, rows: Sequence[Row]) -> Exception | None:
        """The exception that the estimator raises for these rows; None if it answers."""
        try:
            with np.errstate(all="ignore"):
                self._answer(self._input(rows))
        except Exception as exc:  # noqa: BLE001  # as above
            return exc
        return None

    def _count_few(self, trees: TreeModel) -> int:
        """Up to how many rows a walk in Python is faster than a call of scikit-learn, by measuring one row here."""
        row = [example(feature) for feature in self.manifest.features]
        walk = min(_seconds(trees.predict, [row]) for _ in range(3))
        call = min(_seconds(self._predict, [row]) for _ in range(3))
        return min(_MOST_FEW, int(call / walk))


def _seconds(predict: Callable[[Sequence[Row]], Any], rows: Sequence[Row]) -> float:
    started = time.perf_counter()
    predict(rows)
    return time.perf_counter() - started


def _input_maker(manifest: Manifest) -> Callable[[Sequence[Row]], Any]:
    """A function that makes the estimator's input from rows."""
    if not manifest.takes_frame:
        return lambda rows: np.asarray(rows, dtype=np.float64)
    from model_service.frames import FrameMaker  # noqa: PLC0415  # pandas is large, and few models need it

    return FrameMaker(manifest.features).frame


def _split(estimator: Any) -> tuple[Callable[[Any], Any], Any]:
    """The function that transforms a matrix, and the estimator that predicts from it. A whole pipeline would transform it for
    each method."""
    steps = [step for _, step in estimator.steps] if type(estimator) is Pipeline else [estimator]
    transformers = [step for step in steps[:-1] if step is not None and step != "passthrough"]

    def transform(matrix: Any) -> Any:
        for transformer in transformers:
            matrix = transformer.transform(matrix)
        return matrix

    return transform, steps[-1]


def _few_rows_model(manifest: Manifest, estimator: Any) -> TreeModel | None:
    """For trees: the same model without scikit-learn, whose call takes longer than the walk of a few rows."""
    if manifest.kind not in ("classifier", "regressor") or not manifest.only_numbers:
        return None
    trees = as_trees(estimator, compact=True)
    return None if trees is None else TreeModel(manifest, trees, depth=total_depth(estimator))


def _answers(manifest: Manifest, estimator: Any) -> Callable[[Any], list[Prediction]]:
    """A function that predicts from a matrix, for the manifest's kind of model."""
    match manifest.kind:
        case "classifier":
            return _class_answers(manifest, estimator)
        case "regressor":
            writer = PredictionWriter(manifest)
            return lambda matrix: [writer.write_value(value) for value in _numbers(estimator.predict(matrix).ravel())]
        case "clusterer":
            writer = PredictionWriter(manifest)
            return lambda matrix: [writer.write_cluster(int(cluster)) for cluster in estimator.predict(matrix).tolist()]
        case "outlier_detector":
            return _outlier_answers(manifest, estimator)
        case "multi_output":
            return _multi_answers(manifest.outputs, estimator)


def _class_answers(manifest: Manifest, estimator: Any) -> Callable[[Any], list[Prediction]]:
    writer, classes = PredictionWriter(manifest), estimator.classes_

    def answer(matrix: Any) -> list[Prediction]:
        # Some estimators give a column.
        indices = np.searchsorted(classes, np.asarray(estimator.predict(matrix)).ravel()).tolist()
        if manifest.probabilistic:
            probabilities = _rows(estimator.predict_proba(matrix))
            return [writer.write_class(index, row) for index, row in zip(indices, probabilities, strict=True)]
        if manifest.decision:
            decisions = _rows(estimator.decision_function(matrix))
            return [writer.write_class(index, (), row) for index, row in zip(indices, decisions, strict=True)]
        return [writer.write_class(index, ()) for index in indices]

    return answer


def _outlier_answers(manifest: Manifest, estimator: Any) -> Callable[[Any], list[Prediction]]:
    writer, score = PredictionWriter(manifest), getattr(estimator, "decision_function", None)

    def answer(matrix: Any) -> list[Prediction]:
        verdicts = estimator.predict(matrix).tolist()
        scores = [()] * len(verdicts) if score is None else _rows(score(matrix))
        return [writer.write_outlier(int(verdict), one) for verdict, one in zip(verdicts, scores, strict=True)]

    return answer


def _multi_answers(outputs: Sequence[Output], estimator: Any) -> Callable[[Any], list[Prediction]]:
    writers = [PredictionWriter(output) for output in outputs]
    names = [json.dumps(output.name).encode() for output in outputs]

    def answer(matrix: Any) -> list[Prediction]:
        predicted = np.asarray(estimator.predict(matrix))
        if outputs[0].kind == "regressor":
            columns = [[writer.write_value(v) for v in _numbers(predicted[:, k])] for k, writer in enumerate(writers)]
        else:
            probabilities = estimator.predict_proba(matrix) if outputs[0].probabilistic else None
            columns = [
                _one_output(output, writer, predicted[:, k], _probabilities_of(probabilities, k))
                for k, (output, writer) in enumerate(zip(outputs, writers, strict=True))
            ]
        return [_join(names, parts) for parts in zip(*columns, strict=True)]

    return answer


def _one_output(output: Output, writer: PredictionWriter, predicted: Any, probabilities: Any) -> list[Prediction]:
    indices = np.searchsorted(np.asarray(output.classes), predicted).tolist()
    if probabilities is None:
        return [writer.write_class(index, ()) for index in indices]
    return [writer.write_class(index, row) for index, row in zip(indices, _rows(probabilities), strict=True)]


def _probabilities_of(given: Any, k: int) -> Any:
    """The probabilities of one output. For labels that are there or not, estimators give only the probability that it is."""
    if given is None or isinstance(given, list):
        return None if given is None else given[k]
    return np.column_stack([1.0 - given[:, k], given[:, k]])


def _join(names: Sequence[bytes], parts: tuple[Prediction, ...]) -> Prediction:
    written = b",".join([b"%b:%b" % (name, part.json) for name, part in zip(names, parts, strict=True)])
    return Prediction(-1, 0.0, (), b'{"outputs":{%b}}' % written, (), parts)


def _rows(values: Any) -> list[tuple[float, ...]]:
    """The rows of an array of shape (n, k) or (n,), as tuples. Raises RequestRejected if a value is not finite."""
    matrix = np.asarray(values, dtype=np.float64)
    if not np.isfinite(matrix).all():
        raise RequestRejected(422, _NO_ANSWER)
    return list(map(tuple, matrix.reshape(len(matrix), -1).tolist()))


def _numbers(values: Any) -> list[float]:
    """The values of an array of shape (n,). Raises RequestRejected if one is not finite."""
    numbers: list[float] = np.asarray(values, dtype=np.float64).tolist()
    if not all(map(math.isfinite, numbers)):
        raise RequestRejected(422, _NO_ANSWER)
    return numbers
