"""An app's container as data: the description for the engine, and the reading of the engine's own descriptions. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deployd.config.app import App
from deployd.config.docker import DockerApp, ulimit_parts, volume_parts
from deployd.domain import Deploy, Image, labels
from deployd.gateway.network import ADDRESS

PORT = "io.deployd.port"
"""The label with the port at which a container serves; the config may have changed since."""


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """The settings of a container that are not in its app's config: its network, its address there, whether its port is published
    on loopback, and the driver of its log."""

    instance: str
    network: str
    address: str | None
    published: bool = False
    log_driver: str = "json-file"


def container_name(instance: str, app: str, number: int) -> str:
    """`deployd-production-iris-42`."""
    return f"deployd-{instance}-{app}-{number}"


def names_of(instance: str, app: str, number: int) -> frozenset[str]:
    """The names that this release and the former one, whose names had no instance, give to a deploy's container."""
    return frozenset({container_name(instance, app, number), f"deployd-{app}-{number}"})


def container_spec(
    app: App, deploy: Deploy, image: Image, settings: NetworkSettings, secrets: Mapping[str, str]
) -> dict[str, Any]:
    """The engine's description of a deploy's container. The engine does not restart it until the gates have passed."""
    docker, port = app.docker, f"{app.docker.port}/tcp"
    endpoint = {"IPAMConfig": {"IPv4Address": settings.address}} if settings.address is not None else {}
    ours = labels(settings.instance, app.name, deploy.number, deploy.goal) | {PORT: str(docker.port)}
    if settings.address is not None:
        ours[ADDRESS] = settings.address
    described: dict[str, Any] = {
        "Image": image.id or image.reference,
        "Env": [f"{name}={value}" for name, value in {**docker.env, **secrets}.items()],
        "Labels": {**docker.labels, **ours},
        "ExposedPorts": {port: {}},
        "StopTimeout": math.ceil(docker.stop_timeout),
        "NetworkingConfig": {"EndpointsConfig": {settings.network: endpoint}} if endpoint else {},
        "HostConfig": {
            **host_config(docker, settings.log_driver),
            "NetworkMode": settings.network,
            "PortBindings": {port: [{"HostIp": "127.0.0.1", "HostPort": ""}]} if settings.published else {},
            "RestartPolicy": {"Name": "no"},
        },
    }
    # Options that are not set come from the image.
    own = {"Cmd": list(docker.command), "Entrypoint": list(docker.entrypoint), "User": docker.user}
    return described | {key: value for key, value in own.items() if value}


def host_config(docker: DockerApp, log_driver: str) -> dict[str, Any]:
    """The settings of `[app.docker]` in the engine's form, apart from networks. `log_driver` is the engine's own."""
    wanted: dict[str, Any] = {
        "Binds": [volume for volume in docker.volumes if not _is_mount(volume)],
        "Mounts": [_mount(volume) for volume in docker.volumes if _is_mount(volume)],
        "Memory": docker.memory or 0,
        "NanoCpus": round((docker.cpus or 0) * 1e9),
        "PidsLimit": docker.pids_limit,
        "ShmSize": docker.shm_size,
        "IpcMode": docker.ipc,
        "ReadonlyRootfs": docker.read_only,
        "Tmpfs": dict(one.partition(":")[::2] for one in docker.tmpfs),
        "Ulimits": [_ulimit(name, value) for name, value in docker.ulimits.items()],
        "Sysctls": dict(docker.sysctls),
        "CapAdd": list(docker.cap_add),
        "CapDrop": list(docker.cap_drop),
        "SecurityOpt": list(docker.security_opt),
        "GroupAdd": list(docker.group_add),
        "Devices": [_device(device) for device in docker.devices],
        "DeviceRequests": _gpus(docker.gpus),
        "Runtime": docker.runtime,
        "ExtraHosts": list(docker.extra_hosts),
        "Dns": list(docker.dns),
        "LogConfig": _log(docker, log_driver),
    }
    # Options that are not set keep the engine's own default.
    found = {key: value for key, value in wanted.items() if value}
    return found if docker.init is None else found | {"Init": docker.init}


def _is_mount(volume: str) -> bool:
    """Whether a volume is a path of the host. As a mount the engine refuses one that is not there, as a bind it would make it,
    empty and owned by root; but only a bind can be labelled for SELinux."""
    source, _, options = volume_parts(volume)
    return source.startswith("/") and not options & {"z", "Z"}


def _mount(volume: str) -> dict[str, Any]:
    source, target, options = volume_parts(volume)
    propagation = next((option for option in options if option.endswith(("shared", "slave", "private"))), None)
    return {
        "Type": "bind",
        "Source": source,
        "Target": target,
        "ReadOnly": "ro" in options,
        **({"BindOptions": {"Propagation": propagation}} if propagation else {}),
    }


def _ulimit(name: str, value: int | str) -> dict[str, Any]:
    soft, hard = ulimit_parts(value)
    return {"Name": name, "Soft": soft, "Hard": hard}


def _device(text: str) -> dict[str, str]:
    path, *more = text.split(":")
    inside = more.pop(0) if more and more[0].startswith("/") else path
    return {"PathOnHost": path, "PathInContainer": inside, "CgroupPermissions": more[0] if more else "rwm"}


def _log(docker: DockerApp, driver: str) -> dict[str, Any] | None:
    """The log's driver. Not configured, it is the engine's own, with a limit where that would fill the disk."""
    if docker.log is not None:
        return {"Type": docker.log.driver, "Config": dict(docker.log.options)}
    return {"Type": driver, "Config": {"max-size": "10m", "max-file": "3"}} if driver == "json-file" else None


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
