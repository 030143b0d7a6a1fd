"""A container's description, as Podman needs it to do what a Docker Engine does with the one that Docker's API has. Pure."""

from collections.abc import Mapping
from typing import Any

HEADER = "Libpod-Api-Version"
"""The header in Podman's answers to `_ping` that a Docker Engine's answers lack."""

NO_PATH = "statfs "
"""The beginning of Podman's message about a path that does not exist on the host."""

IN_USE = "is already in use by "
"""A part of its message, with status 500, when another container has the name."""


def heeded(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The description with GPUs as CDI devices: Podman ignores a Docker Engine's kind of request for GPUs."""
    host = dict(spec.get("HostConfig", {}))
    if wanted := host.get("DeviceRequests"):
        host["DeviceRequests"] = [{"Driver": "cdi", "DeviceIDs": _gpus(one["Count"])} for one in wanted]
    return {**spec, "HostConfig": host}


def mounting(name: str, spec: Mapping[str, Any]) -> dict[str, Any] | None:
    """A container in the words of Podman's own API, with nothing but the paths of the host; None when there are none."""
    mounts = spec.get("HostConfig", {}).get("Mounts") or ()
    paths = [{"Type": "bind", "Source": one["Source"], "Destination": one["Target"]} for one in mounts]
    labels = spec.get("Labels", {})
    return {"image": spec["Image"], "name": name, "labels": labels, "mounts": paths} if paths else None


def _gpus(count: int) -> list[str]:
    numbers = map(str, range(count)) if count >= 0 else ["all"]
    return [f"nvidia.com/gpu={number}" for number in numbers]
