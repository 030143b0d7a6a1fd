"""A private directory for each build: its secrets, and the docker client's config with the registry's password.

Remains of a killed daemon are removed before the next build. Knows nothing of builds.
"""

import base64
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deployd.config.daemon import Registry
from deployd.config.values import read_secret
from deployd.engine.endpoint import config_directory
from deployd.ports.builder import BuildRequest
from deployd.ports.log import Log


class PrivateDirectories:
    """Private directories below `root`, which is there only while one is in use."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._in_use: set[Path] = set()

    @contextmanager
    def one(self) -> Iterator[Path]:
        """A new directory, removed at the end. Directories that a killed daemon left are removed first."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for stale in set(self._root.iterdir()) - self._in_use:
            shutil.rmtree(stale)
        directory = Path(tempfile.mkdtemp(dir=self._root))
        self._in_use.add(directory)
        try:
            yield directory
        finally:
            shutil.rmtree(directory)
            self._in_use.discard(directory)
            if not self._in_use:
                self._root.rmdir()


def login(directory: Path, registry: Registry | None, log: Log | None) -> Mapping[str, str]:
    """Write a copy of the user's client config with the registry's password added; the environment that selects it."""
    if registry is None or registry.username is None or registry.password is None:
        return {}
    password = read_secret(registry.password, "registry.password")
    if log is not None:
        log.hide(password)
    host = (registry.url.partition("://")[2] or registry.url).split("/")[0]
    present = config_directory()
    known = json.loads(read(present / "config.json") or "{}")
    auth = base64.b64encode(f"{registry.username}:{password}".encode()).decode()
    known["auths"] = {**known.get("auths", {}), host: {"auth": auth}}
    _write(directory / "config.json", json.dumps(known))
    for shared in ("cli-plugins", "buildx", "contexts"):
        (directory / shared).symlink_to(present / shared)
    return {"DOCKER_CONFIG": str(directory)}


def write_secrets(request: BuildRequest, directory: Path, log: Log) -> dict[str, Path]:
    """Write the build's secrets; the file of each."""
    files: dict[str, Path] = {}
    for number, (name, reference) in enumerate(request.app.build.secrets.items()):
        value = read_secret(reference, f"app.{request.app.name}.build.secrets.{name}")
        log.hide(value)
        files[name] = directory / f"secret-{number}"
        _write(files[name], value)
    return files


def read(path: Path) -> str:
    """The text of a file; empty when there is none."""
    return path.read_text().strip() if path.exists() else ""


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(text)
