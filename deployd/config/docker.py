"""`[app.docker]`: how an app's container runs. The values mean what they mean to `docker run`."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from deployd.config.values import Duration, EnvName, EnvValue, Port, Reference, Section, Size

SMALLEST_MEMORY = 6 * 1024**2
"""The engine starts no container with less."""

_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_VOLUME_OPTIONS = frozenset(
    {"ro", "rw", "z", "Z", "nocopy", "cached", "delegated", "consistent"}
    | {f"{recursive}{kind}" for recursive in ("", "r") for kind in ("shared", "slave", "private")}
)
_DEVICE = re.compile(r"/dev/[^:]+(?::/dev/[^:]+)?(?::[rwm]{1,3})?")
_CAPABILITY = re.compile(r"[A-Z][A-Z_]*")
_IPC = re.compile(r"none|private|shareable|host|container:[^\s:]+")
_ULIMIT = re.compile(r"(-1|\d+)(?::(-1|\d+))?")
_NETWORK = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_OURS = "io.deployd."


def volume_parts(text: str) -> tuple[str, str, frozenset[str]]:
    """Source, target and options of a volume. The source is empty for an anonymous volume, `/path`."""
    if ":" not in text:
        return "", text, frozenset()
    source, target, *options = text.split(":")
    return source, target, frozenset(options[0].split(",")) if options else frozenset()


def _volume(text: str) -> str:
    source, target, options = volume_parts(text)
    if source.startswith("~"):
        raise ValueError('~ is not known here: write the whole path, such as "/srv/data:/data"')
    if source.startswith("."):
        raise ValueError(
            'expected a whole path of the host, such as "/srv/data:/data", not one relative to a directory'
        )
    if source and not source.startswith("/") and _VOLUME_NAME.fullmatch(source) is None:
        raise ValueError(f'"{source}" is neither a path of the host, such as /srv/data, nor a name for a volume')
    if not target.startswith("/"):
        raise ValueError('expected "NAME:/path" or "/host/path:/path", such as "data:/data"')
    if target.strip("/") == "" or text.count(":") > 2:
        raise ValueError('expected "NAME:/path" or "/host/path:/path", and perhaps ":ro" behind it')
    if unknown := sorted(options - _VOLUME_OPTIONS):
        raise ValueError(f'unknown option "{unknown[0]}"; there are {", ".join(sorted(_VOLUME_OPTIONS))}')
    return text


def _tmpfs(text: str) -> str:
    path = text.partition(":")[0]
    if not path.startswith("/") or path.strip("/") == "":
        raise ValueError('expected a path in the container, such as "/run" or "/run:size=64m"')
    return text


def _memory(size: int) -> int:
    if size < SMALLEST_MEMORY:
        raise ValueError("must be at least 6MiB: the engine starts no container with less")
    return size


def _network(name: str) -> str:
    if name in {"none", "default"} or _NETWORK.fullmatch(name) is None:
        raise ValueError('expected the name of a network of the engine (docker network ls), or "host"')
    return name


def _device(text: str) -> str:
    if _DEVICE.fullmatch(text) is None:
        raise ValueError('expected a device, such as "/dev/fuse" or "/dev/sda:/dev/xvda:r"')
    return text


def _capability(text: str) -> str:
    name = text.upper()
    if _CAPABILITY.fullmatch(name) is None:
        raise ValueError('expected the name of a capability, such as "SYS_PTRACE", or "ALL"')
    return name


def _ipc(text: str) -> str:
    if _IPC.fullmatch(text) is None:
        raise ValueError('expected "none", "private", "shareable", "host" or "container:NAME"')
    return text


def _ulimit(value: Any) -> Any:
    match = None if isinstance(value, bool) else _ULIMIT.fullmatch(str(value))
    if match is None:
        raise ValueError('expected a number, "SOFT:HARD", or -1 for no limit')
    return value


def ulimit_parts(value: int | str) -> tuple[int, int]:
    """The soft and the hard limit."""
    soft, _, hard = str(value).partition(":")
    return int(soft), int(hard or soft)


def _extra_host(text: str) -> str:
    name, _, address = text.partition(":")
    if not name or re.search(r"\s", name) or not (address == "host-gateway" or _is_address(address.strip("[]"))):
        raise ValueError('expected "NAME:ADDRESS", such as "db.internal:10.0.0.5", or "NAME:host-gateway" for the host')
    return text


def _address(text: str) -> str:
    if not _is_address(text):
        raise ValueError("expected an IP address, such as 10.0.0.53")
    return text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _gpus(value: Any) -> Any:
    if value != "all" and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError('expected "all" or a number')
    return value


def _dotted(table: Any) -> Any:
    """TOML reads `a.b = "1"` as a table in a table; what has dots in its name needs quotes."""
    if isinstance(table, dict):
        for name, value in table.items():
            if isinstance(value, dict):
                said = f'a name with dots needs quotes: "{name}.{next(iter(value), "…")}" = …'
                raise ValueError(said)  # noqa: TRY004 - pydantic catches no TypeError
    return table


def _labels(table: dict[str, str]) -> dict[str, str]:
    for name in table:
        if not name or re.search(r"[\s=]", name):
            raise ValueError(f'"{name}" is not a valid name for a label: it must not be empty or hold a space or =')
        if name.startswith(_OURS):
            raise ValueError(f"{name}: the labels that begin with {_OURS} are deployd's own")
    return table


Volume = Annotated[str, AfterValidator(_volume)]
Tmpfs = Annotated[str, AfterValidator(_tmpfs)]
Memory = Annotated[Size, AfterValidator(_memory)]
NetworkName = Annotated[str, AfterValidator(_network)]
Device = Annotated[str, AfterValidator(_device)]
Capability = Annotated[str, AfterValidator(_capability)]
Ipc = Annotated[str, AfterValidator(_ipc)]
Ulimit = Annotated[int | str, BeforeValidator(_ulimit)]
UlimitName = Literal[
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
    "rttime", "sigpending", "stack",
]  # fmt: skip
ExtraHost = Annotated[str, AfterValidator(_extra_host)]
Address = Annotated[str, AfterValidator(_address)]
Gpus = Annotated[Literal["all"] | int, BeforeValidator(_gpus)]
Labels = Annotated[dict[str, str], BeforeValidator(_dotted), AfterValidator(_labels)]
Sysctls = Annotated[dict[str, EnvValue], BeforeValidator(_dotted)]


class ContainerLog(Section):
    """`[app.docker.log]`"""

    driver: str = "json-file"
    options: dict[str, EnvValue] = {}


class DockerApp(Section):
    """`[app.docker]`"""

    port: Port = 5000
    env: dict[EnvName, EnvValue] = {}
    env_secrets: dict[EnvName, Reference] = {}
    volumes: tuple[Volume, ...] = ()
    memory: Memory | None = None
    cpus: Annotated[float, Field(gt=0)] | None = None
    network: NetworkName | None = None
    gpus: Gpus | None = None
    restart: Literal["no", "on-failure", "always", "unless-stopped"] = "unless-stopped"
    stop_timeout: Duration = 10.0
    drain: Duration = 30.0
    start: Literal["first", "stop-first"] = "first"
    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    user: str | None = None
    group_add: tuple[str, ...] = ()
    init: bool | None = None
    read_only: bool = False
    tmpfs: tuple[Tmpfs, ...] = ()
    shm_size: Size | None = None
    ipc: Ipc | None = None
    pids_limit: Annotated[int, Field(ge=0)] = 4096
    ulimits: dict[UlimitName, Ulimit] = {}
    sysctls: Sysctls = {}
    cap_add: tuple[Capability, ...] = ()
    cap_drop: tuple[Capability, ...] = ()
    security_opt: tuple[str, ...] = ("no-new-privileges",)
    devices: tuple[Device, ...] = ()
    runtime: str | None = None
    extra_hosts: tuple[ExtraHost, ...] = ()
    dns: tuple[Address, ...] = ()
    labels: Labels = {}
    log: ContainerLog | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        targets = [volume_parts(volume)[1] for volume in self.volumes] + [one.partition(":")[0] for one in self.tmpfs]
        if (twice := _twice(target.rstrip("/") for target in targets)) is not None:
            raise ValueError(f"volumes and tmpfs mount two things at {twice}")
        return self


def _twice(items: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for item in items:
        if item in seen:
            return item
        seen.add(item)
    return None
