"""What the engine means when it refuses a container: the key of `[app.docker]` that is at fault, and what to write. Pure."""

import re
from collections.abc import Callable

from deployd.config.app import App
from deployd.errors import ConfigError

_Said = re.Match[str]

# The engine's words (20.10 to 29, and Podman's where they differ), the key, what is wrong, and what to do.
_MEANINGS: tuple[tuple[str, str, Callable[[_Said], str], str], ...] = (
    (
        r"bind source path does not exist: ?(\S+)|statfs (\S+): no such file",
        "volumes",
        lambda m: f"the host has no {m[1] or m[2]}",
        "make it, owned by the user of the container; deployd makes no directories outside of its own",
    ),
    (
        r"range of cpus is from (\S+) to (\S+), as there are only (\d+)",
        "cpus",
        lambda m: f"this engine has {m[3]} CPUs",
        "ask for at most as many",
    ),
    (
        r"minimum memory limit allowed is (\S+)",
        "memory",
        lambda m: f"this engine gives at least {m[1]}",
        "ask for more",
    ),
    (
        r"could not select device driver|unresolvable CDI devices|nvidia-container",
        "gpus",
        lambda _: "this engine has no runtime for GPUs",
        "install the GPU's container toolkit and restart the engine",
    ),
    (
        r"(?:unknown or invalid runtime name|unknown runtime specified):? ?(\S*)",
        "runtime",
        lambda m: f"this engine has no runtime {m[1]}",
        "docker info names its runtimes",
    ),
    (
        r"error gathering device information while adding custom device \"([^\"]+)\"",
        "devices",
        lambda m: f"the host has no {m[1]}",
        "ls /dev on the host",
    ),
    (
        r"CapAdd: unknown capability: \"([^\"]+)\"",
        "cap_add",
        lambda m: f"there is no capability {m[1]}",
        "man 7 capabilities lists them",
    ),
    (
        r"CapDrop: unknown capability: \"([^\"]+)\"",
        "cap_drop",
        lambda m: f"there is no capability {m[1]}",
        "man 7 capabilities lists them",
    ),
    (
        r"sysctl[^\"]*\"?([a-z0-9_.]+)\"?[^:]*(?:not allowed|not in a separate)",
        "sysctls",
        lambda m: f"{m[1]} is not a container's own",
        "set it on the host",
    ),
    (
        r"(?:(?:open|write) (?:\S*/)?|openat2 \S*)proc/(?:\./)?sys/(\S+?):? (?:no such file|permission|invalid)",
        "sysctls",
        lambda m: f"the host's kernel does not take {m[1].replace('/', '.')}",
        "man 5 sysctl.conf",
    ),
    (
        r"unknown log opt '([^']+)' for (\S+)",
        "log.options",
        lambda m: f"{m[2]} has no option {m[1]}",
        "docs.docker.com/engine/logging lists them",
    ),
    (
        r"logger: no log driver named '([^']+)'|error looking up logging plugin (\S+):",
        "log.driver",
        lambda m: f"this engine has no log driver {m[1] or m[2]}",
        "docker info names its drivers",
    ),
    (
        r"error setting rlimit|rlimit.*operation not permitted",
        "ulimits",
        lambda _: "a limit is above what the engine itself may use",
        "ask for less, or raise the engine's own (LimitNOFILE= in its unit)",
    ),
    (
        r"invalid --security-opt|invalid security-opt|unable to parse security option|opening seccomp profile",
        "security_opt",
        lambda _: "the engine does not know it",
        'such as "no-new-privileges" or "seccomp=unconfined"',
    ),
    (
        r"unable to find (?:user|group) (\S+?):",
        "user",
        lambda m: f"the image has no user or group {m[1]}",
        "a number always works",
    ),
    (
        r"unable to find group (\S+?):",
        "group_add",
        lambda m: f"the image has no group {m[1]}",
        "a number always works",
    ),
    (
        r"no such container:? (\S+)|non.running container:? (\S+)",
        "ipc",
        lambda m: f"no container {m[1] or m[2]} runs on this engine",
        "docker ps names those that run",
    ),
    (
        r"exec: \\?\"([^\"\\]+)\\?\": (?:executable file not found|stat|permission|no such)",
        "command",
        lambda m: f"the image cannot run {m[1]}",
        "check command and entrypoint, or the image's own CMD and ENTRYPOINT",
    ),
)


def meaning(app: App, said: str) -> ConfigError | None:
    """The fault in the app's config that the engine's words `said` tell of; None when they tell of something else."""
    for pattern, key, what, hint in _MEANINGS:
        if _is_set(app, key) and (found := re.search(pattern, said, re.IGNORECASE)) is not None:
            return ConfigError(f"app.{app.name}.docker.{key}: {what(found)}", hint=hint)
    return None


def _is_set(app: App, key: str) -> bool:
    """Whether the config sets the key at all: what it does not set is the image's, and no fault of the config."""
    docker = app.docker
    match key:
        case "command":
            return bool(docker.command or docker.entrypoint)
        case "log.driver" | "log.options":
            return docker.log is not None
        case _:
            return bool(getattr(docker, key))
