"""A loaded model: from checked files to predictions. Loading runs no code from the files; predicting has no side effects.

Rows are checked before they come here (`rows.py`): they have the right width, and their values fit their columns. Knows nothing
of HTTP.
"""

import json
import math
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from model_service.errors import ModelRejected, RequestRejected
from model_service.manifest import Manifest, Output
from model_service.trees import Trees

TREES_FILE = "model.json"
Row = Sequence[Any]
# How many tree nodes may be visited on the event loop at once: about half a millisecond. More rows go to a thread.
MAX_QUICK_VISITS = 5_000


class Prediction(NamedTuple):
    """The prediction for one row. `json` is how /predict writes it.

    A classifier gives `class_index` (in the manifest's classes), and `probabilities` or `decision` values. For all others the
    class_index is -1. A regressor gives `value`, a clusterer its cluster as `value`, an outlier detector -1 or 1 as `value` and
    the score as `decision`. A model with several outputs gives one prediction for each in `outputs`.
    """

    class_index: int
    value: float
    probabilities: tuple[float, ...]
    json: bytes
    decision: tuple[float, ...] = ()
    outputs: "tuple[Prediction, ...]" = ()


class Model(Protocol):
    """A model that predicts rows. The prediction for a row does not depend on the other rows of the call."""

    manifest: Manifest
    costly_calls: bool  # a call costs much more than its rows, so merging calls is worth it
    quick_rows: int  # the number of rows that are predicted within about half a millisecond

    def predict(self, rows: Sequence[Row]) -> list[Prediction]:
        """One prediction for each row, in order."""
        ...


class PredictionWriter:
    """Makes Predictions, with their JSON, for one output: of a manifest, or one of the several in it."""

    def __init__(self, described: Manifest | Output) -> None:
        self._starts = [
            f'{{"label":{json.dumps(label)},"class":{json.dumps(value)},"probabilities":'.encode()
            for label, value in zip(described.labels, described.classes, strict=True)
        ]
        self._names = [f"{json.dumps(label)}:".encode() for label in described.labels]

    def write_class(self, index: int, probabilities: tuple[float, ...], decision: tuple[float, ...] = ()) -> Prediction:
        """A classifier's prediction. `probabilities` is empty if the estimator has none, `decision` if it needs none."""
        start = self._starts[index]
        if probabilities:
            return Prediction(index, 0.0, probabilities, b"%b%b}" % (start, self._by_name(probabilities)))
        if not decision:
            return Prediction(index, 0.0, (), start + b"null}")
        written = self._by_name(decision) if len(decision) == len(self._names) else _list(decision)
        return Prediction(index, 0.0, (), b'%bnull,"decision":%b}' % (start, written), decision)

    def write_value(self, value: float) -> Prediction:
        """A regressor's prediction."""
        return Prediction(-1, value, (), b'{"value":%b}' % repr(value).encode())

    def write_cluster(self, cluster: int) -> Prediction:
        """A clusterer's prediction."""
        return Prediction(-1, cluster, (), b'{"cluster":%d}' % cluster)

    def write_outlier(self, verdict: int, score: tuple[float, ...]) -> Prediction:
        """An outlier detector's prediction: -1 is an outlier. The score is less than 0 for outliers."""
        outlier = b"true" if verdict == -1 else b"false"
        written = _list(score) if score else b"null"
        return Prediction(-1, verdict, (), b'{"outlier":%b,"score":%b}' % (outlier, written), score)

    def _by_name(self, values: tuple[float, ...]) -> bytes:
        written = [name + repr(value).encode() for name, value in zip(self._names, values, strict=True)]
        return b"{%b}" % b",".join(written)


def _list(values: tuple[float, ...]) -> bytes:
    """A number, or a list of several."""
    written = b",".join([repr(value).encode() for value in values])
    return written if len(values) == 1 else b"[%b]" % written


class TreeModel:
    """Trees as arrays, walked in Python: for a few trees this is faster than a call of an array library."""

    costly_calls = False

    def __init__(self, manifest: Manifest, trees: Trees, *, depth: int | None = None) -> None:
        self.manifest = manifest
        self._trees = trees
        self._writer = PredictionWriter(manifest)
        self._floats = struct.Struct(f"{len(manifest.features)}f")
        self._has_missing = any(feature.missing for feature in manifest.features)
        depth = sum(tree.depth() for tree in trees.trees) if depth is None else depth
        self.quick_rows = MAX_QUICK_VISITS // max(1, depth)
        is_single = len(trees.trees) == 1 and trees.combine == "mean"
        self._predict_row = self._single_tree_predictor() if is_single else self._predict_by_scores

    def predict(self, rows: Sequence[Row]) -> list[Prediction]:
        """One prediction for each row, in order."""
        predict, pack, unpack = self._predict_row, self._floats.pack, self._floats.unpack
        # scikit-learn rounds to float32 before it compares. Without this, rows at a threshold would take the wrong branch.
        return [predict(unpack(pack(*row))) for row in rows]

    def _predict_by_scores(self, row: Row) -> Prediction:
        scores = self._trees.scores(row, has_missing=self._has_missing)
        if not all(map(math.isfinite, scores)):
            raise RequestRejected(422, "the model has no finite answer for this row")
        if self.manifest.kind == "regressor":
            return self._writer.write_value(scores[0])
        return self._writer.write_class(self._trees.best_class(scores), self._trees.probabilities(scores))

    def _single_tree_predictor(self) -> Callable[[Row], Prediction]:
        """A single tree has one prediction for each leaf, so they are all made in advance."""
        tree = self._trees.trees[0]
        leaves = [node for node, feature in enumerate(tree.feature) if feature < 0]
        by_leaf = {leaf: self._predict_leaf(tree.value[leaf]) for leaf in leaves}
        find_leaf = tree.find_leaf_with_missing if self._has_missing else tree.find_leaf
        return lambda row: by_leaf[find_leaf(row)]

    def _predict_leaf(self, value: tuple[float, ...]) -> Prediction:
        if self.manifest.kind == "regressor":
            return self._writer.write_value(value[0])
        return self._writer.write_class(self._trees.best_class(value), value)


def load(directory: Path, *, pickle_sha256: str | None = None, trusted: Sequence[str] = ()) -> Model:
    """The model in a directory that training wrote. Raises ModelRejected.

    `pickle_sha256` allows one pickle by its hash; `trusted` names more types that a skops file may hold.
    """
    manifest = Manifest.read(directory)
    if manifest.format == "trees":
        return TreeModel(manifest, _read_trees(manifest, directory))
    # scikit-learn is large, and trees do without it, so it is imported only for the models that need it.
    try:
        from model_service.estimator_files import read_estimator  # noqa: PLC0415
        from model_service.estimators import EstimatorModel  # noqa: PLC0415

        estimator = read_estimator(manifest, directory, pickle_sha256=pickle_sha256, trusted=trusted)
        return EstimatorModel(manifest, estimator)
    except ImportError as exc:
        raise ModelRejected(
            f"a model in the {manifest.format} format needs libraries that are not installed here: {exc}",
            hint="install model_service/training.lock; models of trees (--format trees) do without",
        ) from exc


def _read_trees(manifest: Manifest, directory: Path) -> Trees:
    content = manifest.read_file(directory, TREES_FILE)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise ModelRejected(f"{TREES_FILE} is not JSON: {exc}") from exc
    trees = Trees.parse(document, features=len(manifest.features))
    outputs = len(manifest.classes) if manifest.kind == "classifier" else 1
    needs_link = trees.combine == "boost" and manifest.kind == "classifier"
    if outputs != (2 if trees.link == "logistic" else trees.width) or needs_link == (trees.link == "identity"):
        raise ModelRejected(f"{TREES_FILE} gives {trees.width} scores for {outputs} outputs")
    return trees
