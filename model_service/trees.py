"""Trees as plain arrays: a trained tree, forest or gradient boosting, predicted without scikit-learn.

The document is JSON (`{"format": "trees/1", ...}`, see `Trees.parse`). Every index is checked before it is used, so a
damaged or forged file ends in ModelRejected. The scores equal scikit-learn's bit for bit if the rows were rounded to float32
first, as scikit-learn does. Knows nothing of files, requests or classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from model_service.errors import ModelRejected

FORMAT = "trees/1"
LEAF = -1

Combine = Literal["mean", "boost"]
Link = Literal["identity", "logistic", "softmax"]


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree. Node i compares `row[feature[i]] <= threshold[i]` and goes on to left[i] or right[i]; feature -1 is a leaf.

    `missing_left[i]` says whether a missing value goes to the left. `value[i]` is the vector of a leaf, empty for other nodes.
    """

    feature: Sequence[int]
    threshold: Sequence[float]
    left: Sequence[int]
    right: Sequence[int]
    missing_left: Sequence[bool]
    value: Sequence[tuple[float, ...]]

    def find_leaf(self, row: Sequence[float]) -> int:
        """The leaf for a row of finite values."""
        feature, threshold, left, right = self.feature, self.threshold, self.left, self.right
        node = 0
        while (column := feature[node]) >= 0:
            node = left[node] if row[column] <= threshold[node] else right[node]
        return node

    def find_leaf_with_missing(self, row: Sequence[float]) -> int:
        """The leaf for a row in which NaN stands for a missing value."""
        node = 0
        while (column := self.feature[node]) >= 0:
            value = row[column]
            goes_left = self.missing_left[node] if math.isnan(value) else value <= self.threshold[node]
            node = self.left[node] if goes_left else self.right[node]
        return node

    def depth(self) -> int:
        """The length of the longest path."""
        below = [0] * len(self.feature)
        for node in reversed(range(len(self.feature))):
            if self.feature[node] >= 0:
                below[node] = 1 + max(below[self.left[node]], below[self.right[node]])
        return below[0]


@dataclass(frozen=True, slots=True)
class Trees:
    """All trees of a model and how their leaves become scores.

    mean: the average of the leaves (a single tree is the mean of one). boost: score k is `init` plus `rate` times the leaves of
    trees k, k + width, k + 2 width, …, added in that order, so that rounding is the same as in scikit-learn.
    """

    combine: Combine
    link: Link
    width: int
    trees: list[Tree]
    init: tuple[float, ...] = ()
    rate: float = 1.0
    scale: float = 1.0

    @classmethod
    def parse(cls, document: Any, *, features: int) -> "Trees":
        """The trees in a parsed JSON document, for rows of `features` values. Raises ModelRejected."""
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ModelRejected(f"not a {FORMAT} document", hint="train the model again with this version")
        combine = _one_of(document, "combine", ("mean", "boost"))
        link = _one_of(document, "link", ("identity", "logistic", "softmax"))
        width = document.get("width")
        if type(width) is not int or not 1 <= width <= 65_536 or (link == "logistic" and width != 1):
            raise ModelRejected("width: expected a number from 1 to 65,536; with the logistic link, 1")
        items = document.get("trees")
        if not isinstance(items, list) or not items:
            raise ModelRejected("the model has no trees")
        leaf_width = width if combine == "mean" else 1
        trees = [_parse_tree(tree, f"trees[{i}]", features, leaf_width) for i, tree in enumerate(items)]
        init: tuple[float, ...] = ()
        if combine == "boost":
            init = _numbers(document.get("init"), "init", width)
            if len(trees) % width:
                raise ModelRejected(f"{len(trees)} trees cannot be divided into stages of {width}")
        (rate, scale) = _numbers([document.get("rate"), document.get("scale")], "rate and scale", 2)
        return cls(combine, link, width, trees, init, rate, scale)

    def document(self) -> dict[str, Any]:
        """The JSON document that `parse` reads."""
        return {
            "format": FORMAT,
            "combine": self.combine,
            "link": self.link,
            "width": self.width,
            "init": self.init,
            "rate": self.rate,
            "scale": self.scale,
            "trees": [{name: getattr(tree, name) for name in Tree.__slots__} for tree in self.trees],
        }

    def scores(self, row: Sequence[float], *, has_missing: bool = False) -> tuple[float, ...]:
        """The `width` scores of one row, before the link function."""
        find_leaf = Tree.find_leaf_with_missing if has_missing else Tree.find_leaf
        leaves = [tree.value[find_leaf(tree, row)] for tree in self.trees]
        return self._average(leaves) if self.combine == "mean" else self._boost(leaves)

    def probabilities(self, scores: Sequence[float]) -> tuple[float, ...]:
        """The link function: the probabilities of the classes (logistic, softmax), or the scores as they are (identity)."""
        if self.link == "logistic":
            positive = _expit(self.scale * scores[0])
            return (1.0 - positive, positive)
        if self.link == "softmax":
            largest = max(scores)
            weights = [math.exp(score - largest) for score in scores]
            total = math.fsum(weights)
            return tuple(weight / total for weight in weights)
        return tuple(scores)

    def best_class(self, scores: Sequence[float]) -> int:
        """The index of the class with the best score; ties are broken as in scikit-learn."""
        if self.link == "logistic":
            return int(scores[0] >= 0)
        return max(range(len(scores)), key=scores.__getitem__)

    def _average(self, leaves: list[tuple[float, ...]]) -> tuple[float, ...]:
        if len(leaves) == 1:
            return leaves[0]
        total = [0.0] * self.width
        for leaf in leaves:
            for k, value in enumerate(leaf):
                total[k] += value
        return tuple(value / len(leaves) for value in total)

    def _boost(self, leaves: list[tuple[float, ...]]) -> tuple[float, ...]:
        total = list(self.init)
        for i, leaf in enumerate(leaves):
            total[i % self.width] += self.rate * leaf[0]
        return tuple(total)


def _parse_tree(tree: Any, where: str, features: int, leaf_width: int) -> Tree:
    if not isinstance(tree, dict):
        raise ModelRejected(f"{where} is not an object")
    columns: list[Any] = [tree.get(name) for name in Tree.__slots__]
    size = len(columns[0]) if isinstance(columns[0], list) else 0
    if not size or any(not isinstance(column, list) or len(column) != size for column in columns):
        raise ModelRejected(f"{where}: {', '.join(Tree.__slots__)} must be lists of one length, at least 1")
    feature, threshold, left, right, missing_left, value = columns
    if any(type(column) is not int or not LEAF <= column < features for column in feature):
        raise ModelRejected(f"{where}: uses a feature that does not exist")
    if any(type(side) is not bool for side in missing_left):
        raise ModelRejected(f"{where}: missing_left: expected only true and false")
    _check_children(feature, left, right, where)
    values = [
        _numbers(value[node], f"{where}, node {node}: value", leaf_width) if feature[node] == LEAF else ()
        for node in range(size)
    ]
    thresholds = list(_numbers(threshold, f"{where}: threshold", size))
    return Tree(feature, thresholds, left, right, missing_left, values)


def _check_children(feature: list[int], left: list[Any], right: list[Any], where: str) -> None:
    """Every child must come after its parent and have only one parent, so that every path ends at a leaf."""
    size = len(feature)
    has_parent = bytearray(size)
    for node in range(size):
        for child in (left[node], right[node]) if feature[node] != LEAF else ():
            if type(child) is not int or not node < child < size or has_parent[child]:
                raise ModelRejected(f"{where}, node {node}: {child!r:.40} cannot be a child of it")
            has_parent[child] = 1
    if sum(has_parent) != size - 1:
        raise ModelRejected(f"{where}: some nodes are never reached")


def _numbers(values: Any, what: str, count: int) -> tuple[float, ...]:
    numeric = isinstance(values, list) and all(type(value) in (int, float) for value in values)
    if not numeric or len(values) != count:
        raise ModelRejected(f"{what}: expected {count} numbers")
    try:
        numbers = tuple(float(value) for value in values)
    except OverflowError as exc:
        raise ModelRejected(f"{what}: a number is too large") from exc
    if not all(map(math.isfinite, numbers)):
        raise ModelRejected(f"{what}: a number is not finite")
    return numbers


def _one_of(document: dict[str, Any], key: str, choices: tuple[str, ...]) -> Any:
    if document.get(key) not in choices:
        raise ModelRejected(f"{key}: expected one of {', '.join(choices)}")
    return document[key]


def _expit(score: float) -> float:
    # Each formula would overflow for large scores of the other sign.
    if score >= 0:
        return 1.0 / (1.0 + math.exp(-score))
    odds = math.exp(score)
    return odds / (1.0 + odds)
