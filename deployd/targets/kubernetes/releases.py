"""The good releases of each app on a cluster, with the template to restore each exactly.

Kubernetes knows the previous ReplicaSets, not which of them were good, and deletes old ones. There is one JSON file per app in
the state directory. It is replaced as a whole and synced, so that a crash leaves either the old or the new file. It also says
where the app's Deployment is, for when the app is no longer in the config.
"""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from deployd.errors import Unavailable
from deployd.goal import ModelVersion

KEPT = 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where an app's Deployment is. `created`: deployd created it, and may delete it."""

    kubeconfig: str | None
    context: str | None
    namespace: str
    deployment: str
    created: bool


@dataclass(frozen=True, slots=True)
class Release:
    """A release that has proven itself. `number` is None for what ran before deployd took over.

    `template` is the pod template that deployd applied; None where deployd only sets the image. `registered` is the version of
    the registered model in it; None when there is none, or an earlier deployd recorded the release.
    """

    number: int | None
    commit: str
    container: str
    image: str
    template: dict[str, Any] | None
    registered: ModelVersion | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """An app's place and its good releases, the newest first.

    `taken_over` says how somebody else changed the Deployment during a rollout: until the next deploy it is left alone.
    """

    place: Place
    releases: tuple[Release, ...] = ()
    taken_over: str = ""

    @property
    def last(self) -> Release | None:
        """The newest good release."""
        return self.releases[0] if self.releases else None

    def find(self, number: int) -> Release | None:
        """The release of deploy `number`, if it is still recorded."""
        return next((release for release in self.releases if release.number == number), None)

    def adding(self, release: Release) -> "Record":
        """The record with `release` as the newest."""
        others = [known for known in self.releases if known.number != release.number]
        return replace(self, releases=(release, *others)[:KEPT])


class Releases:
    """The records of all apps, below `directory`. Blocking; durable when `write` returns."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, app: str) -> Record | None:
        """The record of the app; None when there is none."""
        path = self._path(app)
        try:
            found = json.loads(path.read_text("utf-8"))
            releases = tuple(_release(item) for item in found["releases"])
            return Record(Place(**found["place"]), releases, found.get("theirs", ""))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, msgspec.ValidationError) as exc:
            raise Unavailable(
                f"{path} cannot be read: {exc}", hint="remove it; what runs now is then the last good release"
            ) from exc

    def write(self, app: str, record: Record) -> None:
        """Replace the record of the app."""
        path = self._path(app)
        fresh = path.with_suffix(".new")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with fresh.open("w", encoding="utf-8") as file:
                json.dump(_as_json(record), file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            _sync(self._directory)
        except OSError as exc:
            raise Unavailable(
                f"{path} cannot be written: {exc.strerror}", hint="check the free space of the disk"
            ) from exc

    def forget(self, app: str) -> None:
        """Remove the record of the app."""
        self._path(app).unlink(missing_ok=True)

    def _path(self, app: str) -> Path:
        return self._directory / f"{app}.json"


def _as_json(record: Record) -> dict[str, Any]:
    releases = [msgspec.to_builtins(release) for release in record.releases]
    return {"place": asdict(record.place), "releases": releases, "theirs": record.taken_over}


def _release(item: dict[str, Any]) -> Release:
    registered = msgspec.convert(item.get("registered"), ModelVersion | None)
    return Release(**{**item, "registered": registered})


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
