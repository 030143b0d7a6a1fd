"""What HAProxy's container is made of, as data. Pure.

The container is labelled with the shape it was made in, so that one made for other mounts, another network or by another
deployd is told from one that only has another successor or predecessor.
"""

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deployd.domain import part_labels
from deployd.gateway.text import CERTIFICATES, CONFIG, CONTROL_PORT, SOCKETS

SOCKETS_LABEL = "io.deployd.sockets"
SHAPE_LABEL = "io.deployd.shape"

_PREVIOUS = "/run/deployd-previous"
# Binding low ports, dropping to the haproxy user, signalling workers of that user; and giving the master socket to a daemon
# that is not root, whose file's mode is set only after that (FOWNER).
_CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID"]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that shapes the container. `ports` are published on a bridge (port -> address it is bound to) and unused else;
    `takes_over` is the directory of the sockets of the one that it replaces."""

    instance: str
    image: str
    directory: Path
    sockets: str
    certificates: Path | None = None
    network: str | None = None
    ports: tuple[tuple[int, str], ...] = ()
    takes_over: Path | None = None

    @property
    def name(self) -> str:
        """The container's name."""
        return f"deployd-gateway-{self.instance}"


def container_spec(plan: Plan) -> dict[str, Any]:
    """The engine's description of the gateway's container."""
    own = {**part_labels(plan.instance, "gateway"), SOCKETS_LABEL: plan.sockets, SHAPE_LABEL: shape(plan)}
    return {**_spec(plan), "Labels": own}


def shape(plan: Plan) -> str:
    """What a container made by `plan` can never become otherwise. Not of it: the image, which is compared by its id, the
    ports, which are compared one by one, and its place in the line of its kind."""
    lasting = replace(plan, image="", sockets="", takes_over=None, ports=())
    return hashlib.sha256(json.dumps(_spec(lasting), sort_keys=True).encode()).hexdigest()[:16]


def _spec(plan: Plan) -> dict[str, Any]:
    control = f"{SOCKETS}/master.sock,uid,{os.getuid()},gid,{os.getgid()},mode,600"
    if plan.network is not None:
        control = f"ipv4@0.0.0.0:{CONTROL_PORT}"
    command = ["-W", "-db", "-S", control, "-f", f"{CONFIG}/haproxy.cfg"]
    binds = [f"{plan.directory}/config:{CONFIG}:ro", f"{plan.directory}/{plan.sockets}:{SOCKETS}"]
    if plan.takes_over is not None:
        command += ["-x", f"{_PREVIOUS}/admin.sock"]
        binds.append(f"{plan.takes_over}:{_PREVIOUS}")
    if plan.certificates is not None:
        binds.append(f"{plan.certificates.absolute()}:{CERTIFICATES}:ro")
    published = (
        {str(CONTROL_PORT): "127.0.0.1", **{str(port): bind for port, bind in plan.ports}} if plan.network else {}
    )
    return {
        "Image": plan.image,
        "Entrypoint": ["haproxy"],
        "Cmd": command,
        "User": "0:0",
        "StopSignal": "SIGUSR1",
        "ExposedPorts": {f"{port}/tcp": {} for port in published},
        "HostConfig": {
            "NetworkMode": plan.network or "host",
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
