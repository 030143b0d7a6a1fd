"""The settings of HAProxy's container, and the engine's description of it. Pure.

A label holds a hash of the settings that cannot change while the container exists (mounts, network, command). When the hash
differs from that of the present config, the container is replaced.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from deployd.config.daemon import GatewaySection
from deployd.domain import part_labels
from deployd.gateway.paths import CERTIFICATES, CONFIG, CONTROL_PORT, SOCKETS

SOCKETS_LABEL = "io.deployd.sockets"
LAYOUT_LABEL = "io.deployd.shape"

_PREVIOUS = "/run/deployd-previous"
# HAProxy binds low ports, switches to its own user, signals the workers of that user, and makes a daemon that is not root the
# owner of the master socket; the mode of that file is set afterwards (FOWNER).
_CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"]


@dataclass(frozen=True, slots=True)
class Layout:
    """The settings of the container. `ports` (port, address to bind) are published on a bridge network and unused on the host
    network; `takes_over` is the directory with the sockets of the one that this one replaces. `tls`: it has certificates."""

    instance: str
    image: str
    directory: Path
    sockets: str = "sockets-a"
    tls: bool = False
    network: str | None = None
    ports: tuple[tuple[int, str], ...] = ()
    takes_over: Path | None = None

    @classmethod
    def of(
        cls, section: GatewaySection, instance: str, directory: Path, network: str | None, ports: Iterable[int]
    ) -> Self:
        """The settings that [gateway] asks for. `directory`: where its files are; `network`: None for the host's."""
        publish = dict.fromkeys(ports, section.bind)
        if section.stats_port is not None:
            publish[section.stats_port] = "127.0.0.1"
        return cls(
            instance=instance,
            image=section.image,
            directory=directory.absolute(),
            tls=section.tls,
            network=network,
            ports=tuple(sorted(publish.items())),
        )


def gateway_name(instance: str) -> str:
    """The name of an instance's container."""
    return f"deployd-gateway-{instance}"


def container_spec(layout: Layout) -> dict[str, Any]:
    """The engine's description of the gateway's container."""
    own = {**part_labels(layout.instance, "gateway"), SOCKETS_LABEL: layout.sockets, LAYOUT_LABEL: layout_hash(layout)}
    return {**_spec(layout), "Labels": own}


def layout_hash(layout: Layout) -> str:
    """A hash of what cannot change while the container exists. Not part of it: the image and the ports, which are compared on
    their own, and the sockets, which differ between a container and its replacement."""
    lasting = replace(layout, image="", sockets="", takes_over=None, ports=())
    return hashlib.sha256(json.dumps(_spec(lasting), sort_keys=True).encode()).hexdigest()[:16]


def _spec(layout: Layout) -> dict[str, Any]:
    control = f"{SOCKETS}/master.sock,uid,{os.getuid()},gid,{os.getgid()},mode,600"
    if layout.network is not None:
        control = f"ipv4@0.0.0.0:{CONTROL_PORT}"
    command = ["-W", "-db", "-S", control, "-f", f"{CONFIG}/haproxy.cfg"]
    binds = [f"{layout.directory}/config:{CONFIG}:ro", f"{layout.directory}/{layout.sockets}:{SOCKETS}"]
    if layout.takes_over is not None:
        command += ["-x", f"{_PREVIOUS}/admin.sock"]
        binds.append(f"{layout.takes_over}:{_PREVIOUS}")
    if layout.tls:
        binds.append(f"{layout.directory}/certificates:{CERTIFICATES}:ro")
    published = (
        {str(CONTROL_PORT): "127.0.0.1", **{str(port): bind for port, bind in layout.ports}} if layout.network else {}
    )
    return {
        "Image": layout.image,
        "Entrypoint": ["haproxy"],
        "Cmd": command,
        "User": "0:0",
        "StopSignal": "SIGUSR1",
        "ExposedPorts": {f"{port}/tcp": {} for port in published},
        "HostConfig": {
            "NetworkMode": layout.network or "host",
            "Binds": binds,
            "PortBindings": {
                f"{port}/tcp": [{"HostIp": bind, "HostPort": "" if port == str(CONTROL_PORT) else port}]
                for port, bind in published.items()
            },
            "RestartPolicy": {"Name": "always"},
            "CapDrop": ["ALL"],
            "CapAdd": _CAPABILITIES,
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        },
    }
