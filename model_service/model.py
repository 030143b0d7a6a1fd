"""A loaded model: checked files in, answers out. Loading runs no code from the files; predicting is pure.

Rows come here already checked (`rows.py`): right width, finite or, where the model allows, NaN. Knows nothing of HTTP.
"""

import json
import math
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from model_service.errors import ModelRejected, RequestRejected
from model_service.manifest import Manifest
from model_service.trees import LEAF, Trees

TREES_FILE = "model.json"
Row = Sequence[float]
# Node visits that may be spent on the event loop at once, about half a millisecond; more goes to a thread.
INLINE_VISITS = 5_000


class Answer(NamedTuple):
    """What the model says of one row. `json` is how /predict writes it.

    A classifier gives `chosen` (an index into the manifest's classes) and `probabilities`; a regressor gives `value`, chosen -1.
    """

    chosen: int
    value: float
    probabilities: tuple[float, ...]
    json: bytes


class Model(Protocol):
    """Something that answers rows. Equal rows get equal answers, whatever stands beside them."""

    manifest: Manifest
    per_call: bool  # a call costs much more than its rows: calls are worth merging
    quick_rows: int  # so many rows are answered within about half a millisecond

    def answers(self, rows: Sequence[Row]) -> list[Answer]:
        """One answer for each row, in order."""
        ...


class Writer:
    """Makes Answers, with their JSON, in the words of one manifest."""

    def __init__(self, manifest: Manifest) -> None:
        self._heads = [
            f'{{"label":{json.dumps(label)},"class":{json.dumps(value)},"probabilities":{{'.encode()
            for label, value in zip(manifest.labels, manifest.classes, strict=True)
        ]
        self._names = [f"{json.dumps(label)}:".encode() for label in manifest.labels]

    def classified(self, index: int, probabilities: tuple[float, ...]) -> Answer:
        """A classifier's answer; no probabilities where the estimator knows none."""
        if not probabilities:
            return Answer(index, 0.0, (), self._heads[index].removesuffix(b"{") + b"null}")
        shares = b",".join(
            [name + repr(share).encode() for name, share in zip(self._names, probabilities, strict=True)]
        )
        return Answer(index, 0.0, probabilities, self._heads[index] + shares + b"}}")

    def valued(self, value: float) -> Answer:
        """A regressor's answer."""
        return Answer(-1, value, (), b'{"value":%b}' % repr(value).encode())


class TreeModel:
    """Trees as arrays, walked in Python: for a few trees the walk costs less than a call into an array library."""

    per_call = False

    def __init__(self, manifest: Manifest, trees: Trees) -> None:
        self.manifest = manifest
        self._trees = trees
        self._writer = Writer(manifest)
        self._floats = struct.Struct(f"{len(manifest.features)}f")
        self._incomplete = any(feature.missing for feature in manifest.features)
        self.quick_rows = INLINE_VISITS // max(1, sum(tree.depth() for tree in trees.trees))
        single = len(trees.trees) == 1 and trees.combine == "mean"
        self._answer = self._by_leaf() if single else self._by_scores

    def answers(self, rows: Sequence[Row]) -> list[Answer]:
        """One answer for each row, in order."""
        answer, pack, unpack = self._answer, self._floats.pack, self._floats.unpack
        # scikit-learn rounds to float32 before it compares; so must we, or rows at a threshold fall on the wrong side
        return [answer(unpack(pack(*row))) for row in rows]

    def _by_scores(self, row: Row) -> Answer:
        scores = self._trees.scores(row, incomplete=self._incomplete)
        if not all(map(math.isfinite, scores)):
            raise RequestRejected(422, "the model has no finite answer for this row")
        if self.manifest.kind == "regressor":
            return self._writer.valued(scores[0])
        return self._writer.classified(self._trees.chosen(scores), self._trees.linked(scores))

    def _by_leaf(self) -> Callable[[Row], Answer]:
        """A single tree has as many answers as leaves: they are written once."""
        tree = self._trees.trees[0]
        ready = {node: self._leaf_answer(tree.value[node]) for node, asked in enumerate(tree.feature) if asked == LEAF}
        walk = tree.leaf_of_incomplete if self._incomplete else tree.leaf
        return lambda row: ready[walk(row)]

    def _leaf_answer(self, value: tuple[float, ...]) -> Answer:
        if self.manifest.kind == "regressor":
            return self._writer.valued(value[0])
        return self._writer.classified(self._trees.chosen(value), value)


def load(directory: Path, *, pickle_sha256: str | None = None, trusted: Sequence[str] = ()) -> Model:
    """The model in a directory that training wrote. Raises ModelRejected.

    `pickle_sha256` allows exactly that pickle; `trusted` names further types that a skops file may hold.
    """
    manifest = Manifest.read(directory)
    if manifest.format == "trees":
        return TreeModel(manifest, _read_trees(manifest, directory))
    # scikit-learn is large and most models do without it: only those that need it pay for it
    try:
        from model_service.estimators import EstimatorModel, read_estimator  # noqa: PLC0415
    except ImportError as exc:
        raise ModelRejected(
            f"a model in the {manifest.format} format needs libraries that are not installed here: {exc}",
            hint="install model_service/training.lock; models of trees (--format trees) do without",
        ) from exc
    return EstimatorModel(manifest, read_estimator(manifest, directory, pickle_sha256=pickle_sha256, trusted=trusted))


def _read_trees(manifest: Manifest, directory: Path) -> Trees:
    content = manifest.checked(directory, TREES_FILE)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise ModelRejected(f"{TREES_FILE} is not JSON: {exc}") from exc
    trees = Trees.parse(document, features=len(manifest.features))
    outputs = len(manifest.classes) if manifest.kind == "classifier" else 1
    linked = trees.combine == "boost" and manifest.kind == "classifier"
    if outputs != (2 if trees.link == "logistic" else trees.width) or linked == (trees.link == "identity"):
        raise ModelRejected(f"{TREES_FILE} gives {trees.width} scores for {outputs} outputs")
    return trees
