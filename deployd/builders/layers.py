"""Which unnamed layers of earlier builds go when the build cache is too large. Pure.

The engine's classic builder keeps a layer for each step as an unnamed image. The layers of a named image are not cache: they take
no space of their own. The result of a build that never got its name is of no use as cache: it goes whatever the limit is.
"""

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from deployd.engine.names import names

_ALGORITHM = "sha256:"
_OURS = "io.deployd."


def to_trim(listed: Sequence[Mapping[str, Any]], ours: Collection[str], limit_bytes: int) -> list[tuple[str, int]]:
    """The ids of the layers to remove, in order, and the bytes that each takes, so that at most `limit_bytes` of cache are left.

    `listed` is the engine's list of all images, `ours` are the ids of the layers that our builds made. A layer goes after those
    that build on it, and otherwise the oldest goes first.
    """
    results = _results(listed)
    cache = list(_cache(listed, ours, results))
    excess = sum(size for _, size in cache) - limit_bytes
    going: list[tuple[str, int]] = []
    for layer, size in cache:
        if excess <= 0 and layer not in results:
            break
        going.append((layer, size))
        excess -= size
    return going


def among(layers: Iterable[str], told: Iterable[str]) -> list[str]:
    """The layers whose ids, or their beginnings, were told."""
    digits = tuple(each.removeprefix(_ALGORITHM) for each in told)
    return [each for each in layers if each.removeprefix(_ALGORITHM).startswith(digits)]


def made_on_the_way(listed: Sequence[Mapping[str, Any]], told: Iterable[str], began: float) -> list[str]:
    """The unnamed images that were made since then on the way to those whose ids, or their beginnings, were told."""
    known, found = {image["Id"]: image for image in listed}, dict[str, None]()
    for top in among(known, told):
        at = known.get(top)
        while at is not None and at["Created"] >= began:
            found |= {} if names(at) else {at["Id"]: None}
            at = known.get(at["ParentId"])
    return list(found)


def made_last(listed: Sequence[Mapping[str, Any]], below: Collection[str], began: float) -> list[str]:
    """The unnamed images that were made since then right on one of `below`: the engine ends the present step of a build also when
    nobody listens any more."""
    made = [image for image in listed if image["ParentId"] in below and image["Created"] >= began]
    return [image["Id"] for image in made if not names(image)]


def _results(listed: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """The images whose own step set our labels, as only the last steps of a build do: an image has the labels of its base."""
    labels = {image["Id"]: _labels(image) for image in listed}
    return frozenset(image["Id"] for image in listed if labels[image["Id"]] not in ({}, labels.get(image["ParentId"])))


def _labels(image: Mapping[str, Any]) -> dict[str, str]:
    return {key: value for key, value in (image.get("Labels") or {}).items() if key.startswith(_OURS)}


def _cache(
    listed: Sequence[Mapping[str, Any]], ours: Collection[str], first: Collection[str]
) -> Iterator[tuple[str, int]]:
    known = {image["Id"]: image for image in listed}
    above = Counter(image["ParentId"] for image in listed)

    def free(layer: str) -> bool:
        return layer in ours and layer in known and not names(known[layer]) and not above[layer]

    def turn(layer: str) -> tuple[bool, int, str]:
        return layer not in first, int(known[layer]["Created"]), layer

    ready = [turn(layer) for layer in known if free(layer)]
    heapq.heapify(ready)
    while ready:
        _, _, layer = heapq.heappop(ready)
        parent = known[layer]["ParentId"]
        below = int(known[parent]["Size"]) if parent in known else 0
        yield layer, max(0, int(known[layer]["Size"]) - below)
        above[parent] -= 1
        if free(parent):
            heapq.heappush(ready, turn(parent))
