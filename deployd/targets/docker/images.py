"""The images that an app's builds left on the engine: choose which to remove, and remove them. Only images with our labels."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from deployd.domain import labels
from deployd.engine.client import EngineClient
from deployd.ports import KeptNow


def to_prune(
    listed: Sequence[Mapping[str, Any]], keep: Collection[str], images: int, image_bytes: int
) -> list[Mapping[str, Any]]:
    """The images to remove, oldest first, so that at most `images` are left, with at most `image_bytes` in total.

    `listed` is the engine's list. The ids in `keep` are never removed, and are counted first.
    """
    kept, size, going = 0, 0, list[Mapping[str, Any]]()
    newest_first = sorted(listed, key=lambda image: -int(image["Created"]))
    for image in sorted(newest_first, key=lambda image: image["Id"] not in keep):
        fits = not going and kept < images and size + image["Size"] <= image_bytes
        if fits or image["Id"] in keep:
            kept, size = kept + 1, size + image["Size"]
        else:
            going.append(image)
    return going


class Images:
    """The images of one instance's apps."""

    def __init__(self, engine: EngineClient, instance: str) -> None:
        self._engine = engine
        self._instance = instance

    async def prune(self, app: str, kept: KeptNow, images: int, image_bytes: int) -> int:
        """Remove images beyond the limits, but none that is `kept` or that a container uses; the bytes freed."""
        wanted = [f"{key}={value}" for key, value in labels(self._instance, app).items()]
        listed = await self._engine.images.list(label=wanted)
        used = {str(container["ImageID"]) for container in await self._engine.containers.list({})}
        now = await kept()
        kept_ids = {image["Id"] for image in listed if now.holds(image["Id"], _names(image))}
        freed = 0
        for image in to_prune(listed, used | kept_ids, images, image_bytes):
            if not (await kept()).holds(image["Id"], _names(image)):
                freed += await self._remove(image)
        return freed

    async def _remove(self, image: Mapping[str, Any]) -> int:
        for name in _names(image) or [image["Id"]]:
            if not await self._engine.images.remove(name):  # a container uses it by now
                return 0
        return int(image["Size"])


def _names(image: Mapping[str, Any]) -> list[str]:
    return [tag for tag in image.get("RepoTags") or () if tag != "<none>:<none>"]
