"""What of an app was once good on a cluster: the releases that completed, with the template to bring each back exactly.

Kubernetes itself remembers "previous", not "good", and forgets ReplicaSets. One JSON file per app under the state directory,
replaced whole and made durable, so that a crash leaves the old or the new file and nothing between. It also says where the
app lives, for the day on which it has left the config.
"""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from deployd.errors import Unavailable

KEPT = 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where an app's Deployment is. `created` says that it is of our making, and ours to delete."""

    kubeconfig: str | None
    context: str | None
    namespace: str
    deployment: str
    created: bool


@dataclass(frozen=True, slots=True)
class Release:
    """A release that proved itself. `number` is None for what ran before deployd took over.

    `template` is the pod template as deployd applied it, None where only the image is ours to set.
    """

    number: int | None
    commit: str
    container: str
    image: str
    template: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Record:
    """An app's place and its good releases, the newest first.

    `theirs` says how somebody else took the Deployment over in mid-rollout: until the next deploy it is left to them.
    """

    place: Place
    releases: tuple[Release, ...] = ()
    theirs: str = ""

    @property
    def last(self) -> Release | None:
        """The newest good release."""
        return self.releases[0] if self.releases else None

    def of(self, number: int) -> Release | None:
        """The release of that deploy, while it is among the kept."""
        return next((release for release in self.releases if release.number == number), None)

    def having(self, release: Release) -> "Record":
        """The same with `release` as the newest."""
        others = [known for known in self.releases if known.number != release.number]
        return replace(self, releases=(release, *others)[:KEPT])


class Releases:
    """The records of all apps, below `directory`; blocking, and durable when `write` returns."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, app: str) -> Record | None:
        """What is known of the app, None when nothing is."""
        path = self._path(app)
        try:
            found = json.loads(path.read_text("utf-8"))
            releases = tuple(Release(**item) for item in found["releases"])
            return Record(Place(**found["place"]), releases, found.get("theirs", ""))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as exc:
            raise Unavailable(
                f"{path} cannot be read: {exc}", hint="remove it: what runs now then counts as the last good release"
            ) from exc

    def write(self, app: str, record: Record) -> None:
        """Replace what is known of the app."""
        path = self._path(app)
        fresh = path.with_suffix(".new")
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with fresh.open("w", encoding="utf-8") as file:
                json.dump(asdict(record), file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            _sync(self._directory)
        except OSError as exc:
            raise Unavailable(f"{path} cannot be written: {exc.strerror}", hint="is the disk full?") from exc

    def forget(self, app: str) -> None:
        """The app is gone."""
        self._path(app).unlink(missing_ok=True)

    def _path(self, app: str) -> Path:
        return self._directory / f"{app}.json"


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
