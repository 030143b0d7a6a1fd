"""Trees as plain arrays: what a trained tree, forest or boosting says, without scikit-learn and without running code.

The document is JSON (`{"format": "trees/1", ...}`, see `Trees.parse`). Every index is checked before it is used, so a
damaged or hostile file ends in ModelRejected. Answers equal scikit-learn's bit for bit up to the link function, provided
that rows were rounded to float32 first, as scikit-learn does. Knows nothing of files, requests or classes.
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
    """One tree: node i asks `row[feature[i]] <= threshold[i]`, goes to left[i] or right[i]; feature -1 is a leaf.

    `missing_left[i]` says where a missing value goes. `value[i]` is a leaf's vector, empty for the other nodes.
    """

    feature: list[int]
    threshold: list[float]
    left: list[int]
    right: list[int]
    missing_left: list[bool]
    value: list[tuple[float, ...]]

    def leaf(self, row: Sequence[float]) -> int:
        """The leaf where a row of finite values ends."""
        feature, threshold, left, right = self.feature, self.threshold, self.left, self.right
        node = 0
        while (asked := feature[node]) >= 0:
            node = left[node] if row[asked] <= threshold[node] else right[node]
        return node

    def leaf_of_incomplete(self, row: Sequence[float]) -> int:
        """The leaf where a row ends that may hold NaN for a missing value."""
        node = 0
        while (asked := self.feature[node]) >= 0:
            value = row[asked]
            goes_left = self.missing_left[node] if math.isnan(value) else value <= self.threshold[node]
            node = self.left[node] if goes_left else self.right[node]
        return node

    def depth(self) -> int:
        """The most questions that a row can be asked."""
        below = [0] * len(self.feature)
        for node in reversed(range(len(self.feature))):
            if self.feature[node] != LEAF:
                below[node] = 1 + max(below[self.left[node]], below[self.right[node]])
        return below[0]


@dataclass(frozen=True, slots=True)
class Trees:
    """All trees of a model and how their leaves become scores.

    mean: the average of the leaves (a single tree is the mean of one). boost: `init` plus `rate` times the leaves of
    trees k, k + width, k + 2 width, … for score k, in that order, so that rounding is scikit-learn's.
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
        """Checks a parsed JSON document for rows of `features` values. Raises ModelRejected."""
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ModelRejected(f"not a {FORMAT} document", hint="train the model again with this version")
        combine = _one_of(document, "combine", ("mean", "boost"))
        link = _one_of(document, "link", ("identity", "logistic", "softmax"))
        width = document.get("width")
        if type(width) is not int or not 1 <= width <= 65_536 or (link == "logistic" and width != 1):
            raise ModelRejected("width is not a number from 1 to 65,536, or not 1 with the logistic link")
        listed = document.get("trees")
        if not isinstance(listed, list) or not listed:
            raise ModelRejected("the model has no trees")
        leaf_width = width if combine == "mean" else 1
        trees = [_parse_tree(tree, f"trees[{i}]", features, leaf_width) for i, tree in enumerate(listed)]
        init: tuple[float, ...] = ()
        if combine == "boost":
            init = _numbers(document.get("init"), "init", width)
            if len(trees) % width:
                raise ModelRejected(f"{len(trees)} trees do not make whole stages of {width}")
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

    def scores(self, row: Sequence[float], *, incomplete: bool = False) -> tuple[float, ...]:
        """What the trees say of one row, before the link: `width` numbers."""
        walk = Tree.leaf_of_incomplete if incomplete else Tree.leaf
        leaves = [tree.value[walk(tree, row)] for tree in self.trees]
        return self._mean(leaves) if self.combine == "mean" else self._boosted(leaves)

    def linked(self, scores: Sequence[float]) -> tuple[float, ...]:
        """Scores as probabilities of the classes (logistic, softmax), or as they are (identity)."""
        if self.link == "logistic":
            positive = _expit(self.scale * scores[0])
            return (1.0 - positive, positive)
        if self.link == "softmax":
            top = max(scores)
            grown = [math.exp(score - top) for score in scores]
            whole = math.fsum(grown)
            return tuple(one / whole for one in grown)
        return tuple(scores)

    def chosen(self, scores: Sequence[float]) -> int:
        """The index of the winning class; ties go as in scikit-learn."""
        if self.link == "logistic":
            return int(scores[0] >= 0)
        return max(range(len(scores)), key=scores.__getitem__)

    def _mean(self, leaves: list[tuple[float, ...]]) -> tuple[float, ...]:
        if len(leaves) == 1:
            return leaves[0]
        total = [0.0] * self.width
        for leaf in leaves:
            for k, value in enumerate(leaf):
                total[k] += value
        return tuple(value / len(leaves) for value in total)

    def _boosted(self, leaves: list[tuple[float, ...]]) -> tuple[float, ...]:
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
    if any(type(asked) is not int or not LEAF <= asked < features for asked in feature):
        raise ModelRejected(f"{where}: asks for a feature that there is not")
    if any(type(side) is not bool for side in missing_left):
        raise ModelRejected(f"{where}: missing_left holds more than true and false")
    _check_shape(feature, left, right, where)
    values = [
        _numbers(value[node], f"{where}, node {node}: value", leaf_width) if feature[node] == LEAF else ()
        for node in range(size)
    ]
    thresholds = list(_numbers(threshold, f"{where}: threshold", size))
    return Tree(feature, thresholds, left, right, missing_left, values)


def _check_shape(feature: list[int], left: list[Any], right: list[Any], where: str) -> None:
    """A child comes after its parent and is entered once: so every walk ends at a leaf, whatever the file says."""
    size = len(feature)
    entered = bytearray(size)
    for node in range(size):
        for child in (left[node], right[node]) if feature[node] != LEAF else ():
            if type(child) is not int or not node < child < size or entered[child]:
                raise ModelRejected(f"{where}, node {node}: {child!r:.40} cannot be its child")
            entered[child] = 1
    if sum(entered) != size - 1:
        raise ModelRejected(f"{where}: some nodes are never reached")


def _numbers(listed: Any, what: str, count: int) -> tuple[float, ...]:
    numeric = isinstance(listed, list) and all(type(one) in (int, float) for one in listed)
    if not numeric or len(listed) != count:
        raise ModelRejected(f"{what}: expected {count} numbers")
    try:
        numbers = tuple(float(one) for one in listed)
    except OverflowError as exc:
        raise ModelRejected(f"{what}: a number is too large") from exc
    if not all(map(math.isfinite, numbers)):
        raise ModelRejected(f"{what}: a number is not finite")
    return numbers


def _one_of(document: dict[str, Any], key: str, choices: tuple[str, ...]) -> Any:
    if document.get(key) not in choices:
        raise ModelRejected(f"{key} is none of {', '.join(choices)}")
    return document[key]


def _expit(score: float) -> float:
    # exp of a large negative score would overflow on the other side
    if score >= 0:
        return 1.0 / (1.0 + math.exp(-score))
    grown = math.exp(score)
    return grown / (1.0 + grown)
