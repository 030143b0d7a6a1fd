"""Reads a gateway's mounts and published ports from the engine's description. Pure, apart from a look at the directory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployd.gateway.paths import CONFIG, CONTROL_PORT, SOCKETS


def published(found: Mapping[str, Any]) -> set[tuple[int, str]]:
    """The ports that it publishes, each with the address that it is bound to."""
    bindings = (found["HostConfig"]["PortBindings"] or {}).items()
    return {(int(port.partition("/")[0]), bound["HostIp"]) for port, all_bound in bindings for bound in all_bound}


def on_host(found: Mapping[str, Any]) -> bool:
    """Whether it is on the host's network."""
    return bool(found["HostConfig"]["NetworkMode"] == "host")


def files_of(found: Mapping[str, Any]) -> Path | None:
    """The directory with its files, as a path on the host; None when it is no container of a gateway."""
    return config.parent if (config := _mounted(found, CONFIG)) is not None else None


def sockets_of(found: Mapping[str, Any]) -> Path | None:
    """The directory with its sockets, as a path on the host."""
    return _mounted(found, SOCKETS)


def control_of(found: Mapping[str, Any]) -> Path | tuple[str, int] | None:
    """Where HAProxy's master takes commands: a socket file on the host's network, a port of this machine on a bridge; None while
    that is not published."""
    if on_host(found) and (sockets := sockets_of(found)) is not None:
        return sockets / "master.sock"
    control = ((found.get("NetworkSettings") or {}).get("Ports") or {}).get(f"{CONTROL_PORT}/tcp")
    return ("127.0.0.1", int(control[0]["HostPort"])) if control else None


def is_cut_off(found: Mapping[str, Any]) -> bool:
    """Whether the state directory was moved or deleted since the container was made, so that its mounts are gone."""
    return (sockets := sockets_of(found)) is not None and not sockets.is_dir()


def _mounted(found: Mapping[str, Any], where: str) -> Path | None:
    mounts = (bind.split(":") for bind in found["HostConfig"]["Binds"] or ())
    return next((Path(mount[0]) for mount in mounts if mount[1] == where), None)
