"""Removes an app's images and logs beyond `[retention]`, and the build cache beyond its limit; or says what would go.

Only images of recorded builds are looked at, and each goes by the name that this instance gave it. Every removal is named in the
log.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from deployd.config.daemon import Retention
from deployd.domain import Build, Image, Kept
from deployd.logs.logs import Logs
from deployd.ports.builder import Builder
from deployd.store.store import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pruned:
    """One thing that was removed, or would be, with the bytes that this frees. `gone`: our name for an image is removed, unless a
    container uses it. `note`: what uses it, or why the image is still there."""

    what: Literal["image", "logs", "build cache"]
    name: str = ""
    size: int = 0
    app: str | None = None
    gone: bool = True
    note: str = ""


Layers = Mapping[int, Mapping[str, int]]
"""The bytes of each layer of the images that are there, by the ids of their builds."""


def to_prune(builds: Sequence[Build], layers: Layers, kept: Kept, images: int, image_bytes: int) -> list[Build]:
    """The builds to remove, oldest first, so that at most `images` are left, with at most `image_bytes` in total.

    `builds` are the newest first; those whose image is not there go. What is `kept` is never removed, and is counted first. A
    layer that several images have is counted once.
    """
    count, going = 0, list[Build]()
    on_disk = dict[str, int]()
    gone = [build for build in builds if build.id not in layers and not kept.holds(build)]
    there = [build for build in builds if build.id in layers]
    full = False
    for build in sorted(there, key=lambda build: not kept.holds(build)):
        together = {**on_disk, **layers[build.id]}
        full = full or count >= images or sum(together.values()) > image_bytes
        if kept.holds(build) or not full:
            count, on_disk = count + 1, together
        else:
            going.append(build)
    return [*reversed(going), *gone]


def freed(going: Sequence[Build], layers: Layers) -> Mapping[int, int]:
    """The bytes that the removal of each image frees, in this order: those of the layers that no other image of the app needs."""
    left = Counter(layer for known in layers.values() for layer in known)
    found = dict[int, int]()
    for build in (build for build in going if build.id in layers):
        left.subtract(layers[build.id].keys())
        found[build.id] = sum(size for layer, size in layers[build.id].items() if not left[layer])
    return found


class Pruner:
    """Prunes the images and logs of all apps. `cache_limit` is in bytes."""

    def __init__(self, store: Store, logs: Logs, builder: Builder, cache_limit: int) -> None:
        self._store = store
        self._logs = logs
        self._builder = builder
        self._cache_limit = cache_limit

    async def images(self, app: str, retention: Retention, *, dry_run: bool = False) -> list[Pruned]:
        """Remove the images of an app beyond the limits; never that of the live or the previous release, or of a deploy."""
        builds = await self._store.builds(app)
        layers, kept = await self._layers(builds), await self._store.kept(app)
        going = to_prune(builds, layers, kept, retention.images, retention.image_bytes)
        sizes = freed(going, layers)
        if dry_run:
            return [await self._would_go(build, sizes[build.id]) for build in going if build.id in sizes]
        return [each for build in going if (each := await self._remove(build, sizes)) is not None]

    async def all_images(self, app: str, *, dry_run: bool = False) -> list[Pruned]:
        """Remove all images of an app that was removed."""
        builds = await self._store.builds(app)
        sizes = freed(builds, await self._layers(builds))
        if dry_run:
            return [await self._would_go(build, sizes[build.id]) for build in builds if build.id in sizes]
        return [each for build in builds if (each := await self._remove(build, sizes, needed=True)) is not None]

    async def rest(self, retention: Retention, *, dry_run: bool = False) -> list[Pruned]:
        """Remove the logs of all apps beyond the limits, and trim the build cache."""
        logs = await self._logs.prune(retention.logs, retention.log_bytes, dry_run=dry_run)
        cache = await self._builder.trim(self._cache_limit, dry_run=dry_run)
        return [each for each in (Pruned("logs", size=logs), Pruned("build cache", size=cache)) if each.size]

    async def _layers(self, builds: Sequence[Build]) -> Layers:
        found = {build.id: await self._builder.layers(build.image) for build in builds if build.image is not None}
        return {number: layers for number, layers in found.items() if layers is not None}

    async def _would_go(self, build: Build, size: int) -> Pruned:
        would = await self._builder.remove(build.image or _unfinished(build), dry_run=True)
        return Pruned("image", build.name, size, build.app, would.done, would.rest)

    async def _remove(self, build: Build, sizes: Mapping[int, int], *, needed: bool = False) -> Pruned | None:
        """Remove the image of one build; None when there was none, or when a deploy needs it by now."""
        if not await self._store.let_go(build, needed=needed):
            return None
        done = await self._builder.remove(build.image or _unfinished(build))
        pruned = Pruned("image", build.name, sizes.get(build.id, 0), build.app, done.done, done.rest)
        if not done.done:
            await self._store.keep(build)
            return pruned
        await self._store.forget_build(build.id)
        if build.id not in sizes:
            return None
        if done.rest:
            logger.info("Removed the name %s; the image stays: %s", build.name, done.rest)
        else:
            logger.info("Removed the image %s", build.name)
        return pruned


def _unfinished(build: Build) -> Image:
    """The image of a build whose end was not recorded: known only by its name, which is unique."""
    name, _, tag = build.name.rpartition(":")
    return Image(name, tag, "")
