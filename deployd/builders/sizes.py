"""The disk space of each layer of an image, so that shared layers are counted once. Pure.

An engine tells the size of a layer only in the history of an image, unpacked. The containerd store also keeps what it was packed
as, and counts both in the size of the image: there each layer gets its share of that.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

# Instructions that make no layer. WORKDIR may make one that takes nothing.
_NO_LAYER = re.compile(
    r"(?:/bin/sh -c #\(nop\)\s*)?"
    r"(?:CMD|LABEL|MAINTAINER|EXPOSE|ENV|ENTRYPOINT|VOLUME|USER|ARG|ONBUILD|STOPSIGNAL|HEALTHCHECK|SHELL)\b"
)


def layer_sizes(inspected: Mapping[str, Any], history: Sequence[Mapping[str, Any]], on_disk: int) -> dict[str, int]:
    """The bytes of each layer, by a digest of it and of all below it. `history`: the newest first; `on_disk`: the bytes of the
    whole image. Where the history does not tell the layers apart, the image is one layer."""
    layers = (inspected.get("RootFS") or {}).get("Layers") or []
    entries = [(int(entry["Size"]), str(entry["CreatedBy"])) for entry in reversed(history)]
    made = [size for size, by in entries if size or not _NO_LAYER.match(by)]
    if len(made) != len(layers):
        made = [size for size, _ in entries if size]
    total = sum(made)
    if len(made) != len(layers) or not total:
        return {str(inspected["Id"]): on_disk}
    found, chain = dict[str, int](), ""
    for layer, size in zip(layers, made, strict=True):
        chain = hashlib.sha256(f"{chain} {layer}".encode()).hexdigest()
        found[chain] = round(size * on_disk / total)
    return found
