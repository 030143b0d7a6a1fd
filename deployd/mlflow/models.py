"""The registered models of apps: which version an alias points to, and the files of a version, each hash-checked.

MLflow names no hashes, and what a version has can be overwritten. So the hashes of the first fetch count from then on: files that
are kept here and files that are fetched again must have them.
"""

import asyncio
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from weakref import WeakValueDictionary

from deployd.config.app import App
from deployd.config.models import Model
from deployd.config.running import Running
from deployd.errors import BuildFailed, Unavailable
from deployd.goal import ModelVersion
from deployd.mlflow.api import MlflowApi
from deployd.ports.log import Log
from deployd.ports.models import ModelFiles
from deployd.store.store import Store
from deployd.wording import counted

DESCRIPTION = "deployd-model.json"

_MOST_FILES = 1000
_DEEPEST = 8
_NEW = "new-"  # begins the name of a directory that is not complete
_PATH = re.compile(r"[^\x00-\x1f\x7f\\]{1,400}")
_SPARED_S = 6 * 3600.0  # what was used so lately may be in a build


class MlflowModels:
    """Implements ports.Models. `directory` holds the files of the versions that were used last. What a killed daemon had half
    fetched there is removed."""

    def __init__(self, running: Running, store: Store, directory: Path) -> None:
        self._running = running
        self._store = store
        self._directory = directory
        self._api = MlflowApi()
        self._locks = WeakValueDictionary[ModelVersion, asyncio.Lock]()
        for left in directory.glob(f"{_NEW}*"):
            shutil.rmtree(left, ignore_errors=True)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def present(self, app: App) -> ModelVersion:
        """See ports.Models."""
        return await self._api.by_alias(app.name, _model(app))

    async def fetch(self, app: App, version: ModelVersion, log: Log) -> ModelFiles:
        """See ports.Models."""
        model = _model(app)
        lock = self._locks.setdefault(version, asyncio.Lock())  # there as long as somebody holds it or waits for it
        async with lock:
            try:
                directory, hashes = await self._there(app, model, version, log)
                await asyncio.to_thread(os.utime, directory)
                await asyncio.to_thread(self._prune, self._running.config.retention.models)
            except OSError as exc:
                what = f"the files of models cannot be kept: {exc.strerror or exc}"
                raise Unavailable(what, hint="check the disk under server.state_dir") from exc
        made = {DESCRIPTION: describe(model, version, hashes)}
        return ModelFiles({path: directory / path for path in hashes if path != DESCRIPTION}, made)

    async def _there(self, app: App, model: Model, version: ModelVersion, log: Log) -> tuple[Path, Mapping[str, str]]:
        """The directory with the files of a version, and their hashes."""
        first = await self._store.model_files(version)
        directory = self._directory / hashlib.sha256(repr(version).encode()).hexdigest()[:32]
        if first is not None and directory.is_dir():
            if not (differ := await asyncio.to_thread(_differing, directory, first)):
                log.write(f"{version}: {counted(len(first), 'file')}, kept here\n")
                return directory, first
            log.write(f"{version}: what was kept here has changed ({', '.join(differ)}); fetching it again\n")
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_NEW, dir=self._directory) as scratch:
            hashes = await self._fetched(app, model, version, Path(scratch))
            if first is not None and (differ := changed(first, hashes)):
                raise _overwritten(version, differ)
            await self._store.record_model_files(version, hashes)
            size = await asyncio.to_thread(_moved, Path(scratch), directory)
        log.write(f"{version}: {counted(len(hashes), 'file')} ({size} bytes) of {model.registry}\n")
        return directory, hashes

    async def _fetched(self, app: App, model: Model, version: ModelVersion, into: Path) -> Mapping[str, str]:
        """Fetch all files of a version; the hash of each."""
        if await self._api.version(app.name, model, version.version) != version:
            what = f"{version} has changed: it was deleted and registered again"
            raise BuildFailed(what, hint=f"deployd deploy {app.name} takes the one that {model.alias} points to now")
        hashes: dict[str, str] = {}
        left = model.max_size
        for path in await self._paths(app, model, version):
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            async with self._api.download(app.name, model, version, path) as pieces:
                hashes[path], size = await _written(target, pieces, left)
            left -= size
            if left < 0:
                what = f"the files of {version} are larger than app.model.max_size ({model.max_size} bytes)"
                raise BuildFailed(what, hint="raise max_size in [app.model], or log a smaller model")
        if not hashes:
            raise BuildFailed(f"{version} has no files in {model.registry}", hint="log the model again")
        return hashes

    async def _paths(self, app: App, model: Model, version: ModelVersion) -> list[str]:
        """The paths of all files of a version, each harmless."""
        found: set[str] = set()
        directories = [""]
        for below in directories:  # each may bring more
            for one in await self._api.listed(app.name, model, version, below):
                if not harmless(one.path, below):
                    what = f"{version} contains the name {one.path[:200]!r}, which cannot go into a build context"
                    raise BuildFailed(what, hint="MLflow itself never creates such a name; log the model again")
                if one.is_dir:
                    directories.append(one.path)
                else:
                    found.add(one.path)
                if len(found) + len(directories) > _MOST_FILES:
                    what = f"{version} has more than {_MOST_FILES} files and directories"
                    raise BuildFailed(what, hint="log the model with fewer files")
        return sorted(found)

    def _prune(self, most: int) -> None:
        """Remove the least recently used versions beyond `most`."""
        used: dict[Path, float] = {}
        for path in self._directory.iterdir():
            with suppress(FileNotFoundError):  # another fetch has moved or removed it just now
                used[path] = path.stat().st_mtime
        for path in sorted(used, key=lambda one: used[one], reverse=True)[most:]:
            if time.time() - used[path] > _SPARED_S:
                shutil.rmtree(path, ignore_errors=True)


def describe(model: Model, version: ModelVersion, hashes: Mapping[str, str]) -> bytes:
    """The JSON file about the model in the build context."""
    source = version.source
    said = {
        "registry": model.registry,
        "name": version.name,
        "alias": model.alias,
        "version": version.version,
        "model_id": source.removeprefix("models:/") if source.startswith("models:/") else None,
        "source": source,
        "creation_timestamp": version.created,
        "files": dict(sorted(hashes.items())),
    }
    return json.dumps(said, indent=1).encode() + b"\n"


def changed(first: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The paths whose content differs from the first time, including new and missing ones."""
    return sorted(path for path in first.keys() | now.keys() if first.get(path) != now.get(path))


def harmless(path: str, below: str) -> bool:
    """Whether a listed path is one directly below the directory that was listed."""
    parts = path.split("/")
    inside = path.rpartition("/")[0] == below
    return (
        inside
        and len(parts) <= _DEEPEST
        and _PATH.fullmatch(path) is not None
        and not any(part in {"", ".", "..", ".git"} for part in parts)
    )


def _overwritten(version: ModelVersion, differ: list[str]) -> BuildFailed:
    what = f"the files of {version} are not those that were fetched first: {', '.join(differ[:5])}"
    hint = "somebody has overwritten them; register the model as a new version, whose files are then fetched"
    return BuildFailed(what, hint=hint)


def _moved(scratch: Path, directory: Path) -> int:
    """Move the fetched files to their final directory; their size."""
    size = sum(path.stat().st_size for path in scratch.rglob("*") if path.is_file())
    scratch.rename(directory)
    scratch.mkdir()  # for its removal
    return size


def _differing(directory: Path, hashes: Mapping[str, str]) -> list[str]:
    return [path for path, digest in hashes.items() if _hash_of(directory / path) != digest]


def _hash_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


async def _written(path: Path, pieces: AsyncIterator[bytes], most: int) -> tuple[str, int]:
    """Write the pieces to a file; its hash and size. Stops once it is larger than `most`."""
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as file:
        async for piece in pieces:
            size += len(piece)
            if size > most:
                break
            await asyncio.to_thread(file.write, piece)
            digest.update(piece)
    return digest.hexdigest(), size


def _model(app: App) -> Model:
    assert app.model is not None  # noqa: S101 - asked only for apps that have one
    return app.model
