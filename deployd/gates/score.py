"""Scores answers with scikit-learn's metrics. A program of its own: it is run by its path, and imports nothing of deployd.

So the daemon stays small, and the program runs by any Python that has scikit-learn. It reads a JSON object on each line and
writes one for each: first {"expected", "slices", "metrics", "numeric"}, then {"answers": NAME, "predicted", "scores"} for each
release, then {"worse": METRIC, "rows", "strict"}. A figure is null where the metric is not defined, as the roc_auc of one class.
"""

import json
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats
from sklearn import metrics

LOWER_IS_BETTER = frozenset({"log_loss", "mae", "mape", "median_absolute_error", "rmse"})
_RESAMPLES = 200
_ONE_SIDED_95 = 1.6449


class Data:
    """The expected values and what each release answered. `classes`: every label of the file and of the answers' scores."""

    def __init__(self, expected: Sequence[Any], *, numeric: bool) -> None:
        self.numeric = numeric
        self.expected = np.asarray(expected, dtype=float if numeric else object)
        self.classes = [] if numeric else sorted(set(expected))
        self.predicted: dict[str, Any] = {}
        self.scores: dict[str, Any] = {}

    def add(self, name: str, predicted: Sequence[Any] | None, scores: Sequence[Any] | None) -> None:
        """Take the answers of one release: predictions, and scores as {label: number} or a number for the second class."""
        if predicted is not None:
            self.predicted[name] = np.asarray(predicted, dtype=float if self.numeric else object)
        if scores is not None:
            rows = [self._row(score) for score in scores]
            self.scores[name] = np.asarray(rows, dtype=float)

    def _row(self, score: Any) -> list[float]:
        if isinstance(score, dict):
            return [float(score.get(label, 0.0)) for label in self.classes]
        return [1.0 - float(score), float(score)]

    def figure(self, metric: str, name: str, rows: Any = slice(None)) -> float | None:
        """One metric of one release; None where it is not defined."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = float(METRICS[metric](self, name, rows))
        except ValueError:
            return None
        return value if math.isfinite(value) else None

    def worse(self, metric: str, rows: Sequence[int] | None, *, strict: bool) -> dict[str, Any]:
        """How sure it is that the candidate is worse than the live release on the same rows: `p`, and with `strict` the upper
        95 % limit of how much it is worse."""
        chosen = np.arange(len(self.expected)) if rows is None else np.asarray(rows)
        return (
            _paired_accuracy(self, chosen) if metric == "accuracy" else _bootstrap(self, metric, chosen, strict=strict)
        )


def _paired_accuracy(data: Data, rows: Any) -> dict[str, Any]:
    """McNemar's exact test; the limit by Bonett and Price."""
    right = {name: data.predicted[name][rows] == data.expected[rows] for name in ("live", "candidate")}
    lost = int(np.sum(right["live"] & ~right["candidate"]))
    won = int(np.sum(~right["live"] & right["candidate"]))
    p = stats.binomtest(lost, lost + won, 0.5, alternative="greater").pvalue if lost + won else 1.0
    n = len(rows) + 2
    one, other = (lost + 1) / n, (won + 1) / n
    limit = one - other + _ONE_SIDED_95 * math.sqrt((one + other - (one - other) ** 2) / n)
    return {"p": float(p), "limit": limit, "lost": [int(row) for row in rows[right["live"] & ~right["candidate"]][:10]]}


def _bootstrap(data: Data, metric: str, rows: Any, *, strict: bool) -> dict[str, Any]:
    """The drop and its standard error over resampled rows, the same for both releases."""
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0

    def drop(chosen: Any) -> float:
        live, candidate = data.figure(metric, "live", chosen), data.figure(metric, "candidate", chosen)
        return math.nan if live is None or candidate is None else sign * (live - candidate)

    random = np.random.default_rng(0)
    drops = np.asarray([drop(random.choice(rows, len(rows))) for _ in range(_RESAMPLES)])
    error, point = float(np.nanstd(drops, ddof=1)), drop(rows)
    p = float(stats.norm.sf(point / error)) if error > 0 else float(not point > 0)
    return {"p": p, "limit": point + _ONE_SIDED_95 * (error if strict and error > 0 else 0.0), "lost": []}


def _labels(function: Callable[..., float], **options: Any) -> Callable[[Data, str, Any], float]:
    return lambda data, name, rows: function(
        data.expected[rows].tolist(), data.predicted[name][rows].tolist(), **options
    )


def _averaged(function: Callable[..., float], average: str) -> Callable[[Data, str, Any], float]:
    """A metric over all classes of the file, so that a slice without one of them is measured alike."""
    return lambda data, name, rows: function(
        data.expected[rows].tolist(), data.predicted[name][rows].tolist(),
        labels=data.classes, average=average, zero_division=0,
    )  # fmt: skip


def _numbers(function: Callable[..., float]) -> Callable[[Data, str, Any], float]:
    return lambda data, name, rows: function(data.expected[rows], data.predicted[name][rows])


def _log_loss(data: Data, name: str, rows: Any) -> float:
    return float(metrics.log_loss(data.expected[rows].tolist(), data.scores[name][rows], labels=data.classes))


def _roc_auc(data: Data, name: str, rows: Any) -> float:
    expected, scores = data.expected[rows].tolist(), data.scores[name][rows]
    if len(set(expected)) < len(data.classes):
        raise ValueError("a class has no rows")
    if len(data.classes) == 2:
        return float(metrics.roc_auc_score([label == data.classes[1] for label in expected], scores[:, 1]))
    return float(metrics.roc_auc_score(expected, scores, labels=data.classes, multi_class="ovr"))


METRICS: dict[str, Callable[[Data, str, Any], float]] = {
    "accuracy": _labels(metrics.accuracy_score),
    "balanced_accuracy": _labels(metrics.balanced_accuracy_score),
    "f1_macro": _averaged(metrics.f1_score, "macro"),
    "f1_weighted": _averaged(metrics.f1_score, "weighted"),
    "precision_macro": _averaged(metrics.precision_score, "macro"),
    "recall_macro": _averaged(metrics.recall_score, "macro"),
    "log_loss": _log_loss,
    "roc_auc": _roc_auc,
    "mae": _numbers(metrics.mean_absolute_error),
    "mape": _numbers(metrics.mean_absolute_percentage_error),
    "median_absolute_error": _numbers(metrics.median_absolute_error),
    "r2": _numbers(metrics.r2_score),
    "rmse": _numbers(lambda expected, predicted: math.sqrt(metrics.mean_squared_error(expected, predicted))),
}


def main() -> None:
    """Answer each line until the input ends."""
    data, wanted, slices = Data([], numeric=False), [], {}
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "expected" in asked:
            data, wanted, slices = Data(asked["expected"], numeric=asked["numeric"]), asked["metrics"], asked["slices"]
            answer: Any = {"classes": len(data.classes)}
        elif "answers" in asked:
            name = asked["answers"]
            data.add(name, asked["predicted"], asked["scores"])
            figures = {metric: data.figure(metric, name) for metric in wanted}
            by = {key: {metric: data.figure(metric, name, rows) for metric in wanted} for key, rows in slices.items()}
            answer = {"figures": figures, "slices": by}
        else:
            answer = data.worse(asked["worse"], asked["rows"], strict=asked["strict"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
