"""The interface of a builder, which makes an image of a commit."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from msgspec import structs

from deployd.config.app import App
from deployd.domain import Image
from deployd.goal import ModelVersion
from deployd.ports.log import Log
from deployd.ports.source import Context


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """The request to build an image: its name and tag, labels, and plain build args (COMMIT among them).

    `registered`: the version of the registered model in its context. `fresh`: without the build cache; `pull`: from base images
    that are pulled first.
    """

    app: App
    commit: str
    name: str
    tag: str
    labels: Mapping[str, str]
    args: Mapping[str, str]
    fresh: bool = False
    pull: bool = False
    registered: ModelVersion | None = None

    @property
    def full_name(self) -> str:
        """The image's name with its tag."""
        return f"{self.name}:{self.tag}"

    @property
    def settings(self) -> str:
        """A hash of what the image is built with: one built with other settings is not used again. Secrets count by name."""
        build = self.app.build
        kind = [self.name, build.context, build.dockerfile, build.stage, build.submodules, build.lfs]
        model, version = self.app.model, self.registered
        put = [] if model is None or version is None else [[model.into, *structs.astuple(version)]]
        digest = hashlib.sha256(json.dumps([*kind, sorted(build.secrets), sorted(self.args.items()), *put]).encode())
        return digest.hexdigest()[:16]

    @property
    def image_labels(self) -> Mapping[str, str]:
        """The labels of the image."""
        return {**self.labels, "io.deployd.build": self.settings}


@dataclass(frozen=True, slots=True)
class Present:
    """An image that is still there, with its size in bytes; `named`: under the name that was given to it."""

    size: int
    named: bool = True


@dataclass(frozen=True, slots=True)
class Removal:
    """The result of removing an image. `done`: our name for it is gone; `rest`: why (some of) it stays, if it does."""

    done: bool
    rest: str = ""


class Builder(Protocol):
    """Commit -> Image."""

    async def build(self, request: BuildRequest, context: Context, log: Log) -> Image:
        """Build and tag `request.full_name`. BuildFailed with the last log lines. When cancelled, it first removes everything
        that the build started."""
        ...

    async def find(self, image: Image) -> Present | None:
        """An image that was built before, if it still exists."""
        ...

    async def layers(self, image: Image) -> Mapping[str, int] | None:
        """The disk space of each layer of an image on this machine, by a name that the layer has in every image; None when the
        image no longer exists."""
        ...

    async def remove(self, image: Image, *, dry_run: bool = False) -> Removal:
        """Remove our name from an image, and the image itself if nothing else names it, uses it or is built on it. Nothing else
        is removed. A name that leads to another image by now is left alone. With `dry_run` only say what would come of it."""
        ...

    async def trim(self, limit_bytes: int, *, dry_run: bool = False) -> int:
        """Shrink the build cache towards `limit_bytes` and remove the remains of failed builds; returns the bytes freed, or with
        `dry_run` those that would be, as far as that can be told."""
        ...

    async def ping(self) -> None: ...
