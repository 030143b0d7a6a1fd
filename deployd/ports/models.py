"""The interface to registries of models."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deployd.config.app import App
from deployd.goal import ModelVersion
from deployd.ports.log import Log


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of a version, by their paths below its directory: each is a path on this host, or content that deployd made."""

    files: Mapping[str, Path]
    made: Mapping[str, bytes]


class Models(Protocol):
    """The registry that an app with `[app.model]` names. A registry that cannot be asked, and one that does not have what it is
    asked for, raise a DeploydError with what to do."""

    async def present(self, app: App) -> ModelVersion:
        """The version that the alias points to now."""
        ...

    async def fetch(self, app: App, version: ModelVersion, log: Log) -> ModelFiles:
        """The files of exactly that version, unchanged since they were first fetched. BuildFailed when they are missing or have
        changed."""
        ...
