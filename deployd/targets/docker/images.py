"""The images that an app's builds left on the engine: which may go, and their removal. Only what carries our labels."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import aiodocker

from deployd.domain import labels
from deployd.engine import containers, request, translated
from deployd.ports import KeptNow


def to_prune(
    listed: Sequence[Mapping[str, Any]], keep: Collection[str], images: int, image_bytes: int
) -> list[Mapping[str, Any]]:
    """The images to remove so that at most `images` of at most `image_bytes` in all are left: the oldest go first.

    `listed` is the engine's list; `keep` holds the ids that stay in any case, and count first.
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

    def __init__(self, docker: aiodocker.Docker, instance: str) -> None:
        self._docker = docker
        self._instance = instance

    async def prune(self, app: str, kept: KeptNow, images: int, image_bytes: int) -> int:
        """Remove what is past the limits, but nothing that is `kept` or that a container uses; the bytes freed."""
        with translated(f"pruning images of {app}"):
            wanted = [f"{key}={value}" for key, value in labels(self._instance, app).items()]
            listed = await self._docker.images.list(filters={"label": wanted})
            used = {str(container["ImageID"]) for container in await containers(self._docker, {})}
            now = await kept()
            held = {image["Id"] for image in listed if now.holds(image["Id"], _names(image))}
            freed = 0
            for image in to_prune(listed, used | held, images, image_bytes):
                if not (await kept()).holds(image["Id"], _names(image)):
                    freed += await self._remove(image)
        return freed

    async def _remove(self, image: Mapping[str, Any]) -> int:
        try:
            for name in _names(image) or [image["Id"]]:
                await request(self._docker, f"images/{name}", "DELETE")
        except aiodocker.DockerError as exc:
            if exc.status not in {404, 409}:  # gone already, or taken into use meanwhile
                raise
            return 0
        return int(image["Size"])


def _names(image: Mapping[str, Any]) -> list[str]:
    return [tag for tag in image.get("RepoTags") or () if tag != "<none>:<none>"]
