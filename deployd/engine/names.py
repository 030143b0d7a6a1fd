"""The names of images, as the docker client shows them: Podman has `docker.io/library/python:3.11` for `python:3.11`. Pure."""

from collections.abc import Mapping
from typing import Any

_NO_NAME = "<none>:<none>"
_HUB = "docker.io/"
_OFFICIAL = "library/"


def familiar(name: str) -> str:
    """The name without the registry that all engines mean when a name has none."""
    return name.removeprefix(_HUB).removeprefix(_OFFICIAL) if name.startswith(_HUB) else name


def names(found: Mapping[str, Any]) -> list[str]:
    """The names of a listed or inspected image."""
    return [familiar(name) for name in found.get("RepoTags") or () if name != _NO_NAME]
