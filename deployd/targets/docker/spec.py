"""An app's container as data: the description that the engine gets, and what its answers mean. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployd.config.app import App
from deployd.domain import Deploy, Image, labels

PORT = "io.deployd.port"
"""The label with the port at which a container serves; the config may have changed since."""

_PROCESSES = 4096


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """How a container is reached: its network, its address there, and whether its port is published on loopback."""

    instance: str
    network: str
    address: str | None
    published: bool = False


def container_name(app: str, number: int) -> str:
    """`deployd-iris-42`."""
    return f"deployd-{app}-{number}"


def container_spec(
    app: App, deploy: Deploy, image: Image, settings: NetworkSettings, secrets: Mapping[str, str]
) -> dict[str, Any]:
    """The engine's description of a deploy's container. The engine does not restart it until the gates have passed."""
    docker, port = app.docker, f"{app.docker.port}/tcp"
    endpoint = {"IPAMConfig": {"IPv4Address": settings.address}} if settings.address is not None else {}
    return {
        "Image": image.id or image.reference,
        "Env": [f"{name}={value}" for name, value in {**docker.env, **secrets}.items()],
        "Labels": labels(settings.instance, app.name, deploy.number, deploy.commit) | {PORT: str(docker.port)},
        "ExposedPorts": {port: {}},
        "StopTimeout": math.ceil(docker.stop_timeout),
        "NetworkingConfig": {"EndpointsConfig": {settings.network: endpoint}} if endpoint else {},
        "HostConfig": {
            "NetworkMode": settings.network,
            "PortBindings": {port: [{"HostIp": "127.0.0.1", "HostPort": ""}]} if settings.published else {},
            "Binds": list(docker.volumes),
            "Memory": docker.memory or 0,
            "NanoCpus": round((docker.cpus or 0) * 1e9),
            "PidsLimit": _PROCESSES,
            "DeviceRequests": _gpus(docker.gpus),
            "RestartPolicy": {"Name": "no"},
            "Init": True,
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        },
    }


def ending(inspected: Mapping[str, Any]) -> str:
    """Why a container does not run: `exited with code 1`."""
    state = inspected["State"]
    if state["OOMKilled"]:
        limit = inspected["HostConfig"]["Memory"]
        return "was killed for lack of memory" + (f" (limit {limit / 2**20:.0f} MiB)" if limit else "")
    if state["Error"]:
        return f"did not start: {state['Error']}"
    return f"exited with code {state['ExitCode']}"


def number_of(labelled: Mapping[str, Any]) -> int | None:
    """The number of the deploy that a listed (`Labels`) or inspected (`Config.Labels`) container belongs to."""
    found = labelled.get("Labels") or labelled.get("Config", {}).get("Labels") or {}
    number = found.get("io.deployd.deploy", "")
    return int(number) if number.isdigit() else None


def _gpus(wanted: str | int | None) -> list[dict[str, Any]]:
    if wanted is None or wanted == 0:
        return []
    return [{"Driver": "", "Count": -1 if wanted == "all" else wanted, "Capabilities": [["gpu"]]}]
