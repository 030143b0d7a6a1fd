"""The images that builds made, on an engine: whether they are still there, and their removal.

Labels prove nothing, since images hand them on: an image is known by its recorded id and name. It is removed only by the name
that we gave it, so whatever a person named, started or built from it stays.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from deployd.builders.layers import among, made_last, made_on_the_way, to_trim
from deployd.builders.sizes import layer_sizes
from deployd.builders.unnamed import UnnamedImages
from deployd.domain import Base, Image
from deployd.engine.client import EngineClient
from deployd.engine.connection import Refused
from deployd.engine.names import familiar, names
from deployd.ports.builder import Present, Removal

logger = logging.getLogger(__name__)

# The store whose images are described with all that they take. Those of the containerd store are not: only the list of images has
# that size, and an engine reads the files of all images for a list.
_COUNTS_ALL = "overlay2"


async def find(engine: EngineClient, image: Image) -> Present | None:
    """The image, if the engine still has it."""
    named = await engine.images.inspect(image.full_name)
    if named is not None and named["Id"] == image.id:
        return Present(int(named["Size"]))
    found = await engine.images.inspect(image.id)
    return Present(int(found["Size"]), named=False) if found is not None else None


async def layers(engine: EngineClient, image: Image) -> Mapping[str, int] | None:
    """See ports.Builder."""
    if await find(engine, image) is None or (inspected := await engine.images.inspect(image.id)) is None:
        return None
    on_disk = int(inspected["Size"])
    if (inspected.get("GraphDriver") or {}).get("Name") != _COUNTS_ALL:
        listed = await engine.images.list(reference=[image.full_name])
        on_disk = next((int(each["Size"]) for each in listed if each["Id"] == image.id), on_disk)
    return layer_sizes(inspected, await engine.images.history(image.id), on_disk)


async def remove(engine: EngineClient, image: Image, *, dry_run: bool = False) -> Removal:
    """Take away the name that we gave to the image. One without any name, as former releases left them, goes by its id; one
    without an id, whose build was cut short, by its name."""
    named = await engine.images.inspect(image.full_name)
    name, image_id = image.full_name, image.id or (named or {}).get("Id", "")
    if named is None or named["Id"] != image_id:
        found = await engine.images.inspect(image_id) if image_id else None
        if found is None or names(found):
            return Removal(done=True)  # it is gone, or somebody else's name is all that it has
        name = image_id
    if dry_run:
        users = await _users(engine, image_id)
        return Removal(done=not users, rest=f"{users} uses it" if users else "")
    try:
        gone = await engine.images.remove(name)
    except Refused as refused:
        if refused.status != 409:
            raise
        users = await _users(engine, image_id)
        return Removal(done=not users, rest=f"{users} uses it" if users else "another image is built on it")
    return Removal(done=True, rest="" if image_id in gone else await _why_left(engine, image_id))


async def trim(engine: EngineClient, unnamed: UnnamedImages, limit_bytes: int, *, dry_run: bool) -> int:
    """Shrink the unnamed images of builds to `limit_bytes`; the bytes freed, or with `dry_run` those that would be."""
    known, listed = unnamed.all(), await engine.images.all()
    going = to_trim(listed, set(known), limit_bytes)
    if dry_run:
        return sum(size for _, size in going)
    gone, freed = set(known) - {image["Id"] for image in listed}, 0
    for layer, size in going:
        try:
            await engine.images.remove(layer)
        except Refused as refused:
            if refused.status != 409:  # a container or another build uses it by now
                raise
        else:
            logger.info("Removed the layer %s of the build cache", layer[:19])
            gone.add(layer)
            freed += size
    unnamed.forget(gone)
    return freed


async def left(engine: EngineClient, told: Iterable[str], cached: Collection[str], began: float) -> list[str]:
    """The unnamed layers that a build made, by the ids that it told, those of them that it took from the cache, and its start.

    What came from the cache, or is older than the build, another program may have made, and may build on."""
    if await engine.is_podman():
        made = made_on_the_way(await engine.images.all(), told, began)
    else:
        layers = [layer for each in told for layer in reversed(await engine.images.history(each))]
        made = list(dict.fromkeys(each["Id"] for each in layers if not each["Tags"] and each["Created"] >= began))
    others = among(made, cached)
    return [each for each in made if each not in others]


async def left_by_cut(engine: EngineClient, told: Sequence[str], cached: Collection[str], began: float) -> list[str]:
    """The unnamed layers of a build that was cut off, including the layer that its last step still made."""
    made = await left(engine, told, cached, began)
    # Only the engine tells full ids, those of results: what a build can forge does no harm.
    listed = await engine.images.all()
    results = {each["Id"] for each in listed if each["Id"] in told and not names(each)}.difference(among(told, cached))
    return [*made, *made_last(listed, results.union(among(made, told)), began)]


def brought(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[str]:
    """The image that a pull brought: a later pull takes its name away, and then it is left of our builds."""
    return [str(after["Id"])] if after is not None and (before is None or before["Id"] != after["Id"]) else []


def base_of(name: str, found: Mapping[str, Any]) -> Base:
    """A base image: by the digest that its registry gave, else by the engine's id."""
    digests = [str(each).partition("@") for each in found.get("RepoDigests") or ()]
    repository = name.partition("@")[0]
    if ":" in repository.rpartition("/")[2]:
        repository = repository.rpartition(":")[0]
    same = [digest for pulled, _, digest in digests if familiar(pulled) == familiar(repository)]
    return Base(name, same[0] if same else str(found["Id"]))


async def _users(engine: EngineClient, image_id: str) -> str:
    listed = await engine.containers.list({})
    found = [item["Names"][0].removeprefix("/") for item in listed if item["ImageID"] == image_id]
    return f"the container {', '.join(sorted(found))}" if found else ""


async def _why_left(engine: EngineClient, image_id: str) -> str:
    found = await engine.images.inspect(image_id)
    if found is None:
        return ""
    others = names(found)
    return f"it is also called {', '.join(others)}" if others else "another image is built on it"
