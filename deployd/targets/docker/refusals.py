"""Explains the engine's refusals of a container: the key of `[app.docker]` that is at fault, and what to write instead. Pure."""

import re
from collections.abc import Callable

from deployd.config.app import App
from deployd.config.docker import DockerApp
from deployd.errors import ConfigError

_Said = re.Match[str]

_NO_CAPABILITY = r"unknown capability: \"([^\"]+)\"|\"([^\"]+)\": unknown capability"

# The engine's words (20.10 to 29, and Podman's where they differ), the key, what is wrong, and what to do.
_MEANINGS: tuple[tuple[str, str, Callable[[_Said, DockerApp], str], str], ...] = (
    (
        r"bind source path does not exist: ?(\S+)|statfs (\S+): no such file",
        "volumes",
        lambda m, _: f"the host has no {m[1] or m[2]}",
        "make it, owned by the user of the container; deployd makes no directories outside of its own",
    ),
    (
        r"range of cpus is from (\S+) to (\S+), as there are only (\d+)",
        "cpus",
        lambda m, _: f"this engine has {m[3]} CPUs",
        "ask for at most as many",
    ),
    (
        r"minimum memory limit allowed is (\S+)",
        "memory",
        lambda m, _: f"this engine gives at least {m[1]}",
        "ask for more",
    ),
    (
        r"could not select device driver|unresolvable CDI devices|nvidia-container",
        "gpus",
        lambda *_: "this engine has no runtime for GPUs",
        "install the GPU's container toolkit and restart the engine",
    ),
    (
        r"(?:unknown or invalid runtime name|unknown runtime specified):? ?(\S*)",
        "runtime",
        lambda m, _: f"this engine has no runtime {m[1]}",
        "docker info names its runtimes",
    ),
    (
        r"error gathering device information while adding custom device \"([^\"]+)\"|container create: stat (\S+): no such file",
        "devices",
        lambda m, _: f"the host has no {m[1] or m[2]}",
        "ls /dev on the host",
    ),
    (
        _NO_CAPABILITY,
        "cap_add",
        lambda m, _: f"there is no capability {m[1] or m[2]}",
        "man 7 capabilities lists them",
    ),
    (
        _NO_CAPABILITY,
        "cap_drop",
        lambda m, _: f"there is no capability {m[1] or m[2]}",
        "man 7 capabilities lists them",
    ),
    (
        r"sysctl[^\"']*?[\"']?([a-z0-9_]+\.[a-z0-9_.]+)[^:]*(?:not allowed|not in a separate)",
        "sysctls",
        lambda m, _: f"{m[1]} is not a container's own",
        "set it on the host",
    ),
    (
        r"(?:(?:open|write) (?:\S*/)?|openat2 \S*)proc/(?:\./)?sys/(\S+?):? (?:no such file|permission|invalid)",
        "sysctls",
        lambda m, _: f"the host's kernel does not take {m[1].replace('/', '.')}",
        "man 5 sysctl.conf",
    ),
    (
        r"unknown log opt '([^']+)' for (\S+)",
        "log.options",
        lambda m, _: f"{m[2]} has no option {m[1]}",
        "docs.docker.com/engine/logging lists them",
    ),
    (
        r"logger: no log driver named|error looking up logging plugin|invalid log driver",
        "log.driver",
        lambda _, docker: f"this engine has no log driver {docker.log.driver if docker.log is not None else ''}",
        "docker info names its drivers",
    ),
    (
        r"error setting rlimit|rlimit.*operation not permitted",
        "ulimits",
        lambda *_: "a limit is above what the engine itself may use",
        "ask for less, or raise the engine's own (LimitNOFILE= in its unit)",
    ),
    (
        r"invalid --security-opt|invalid security-opt|unable to parse security option|opening seccomp profile",
        "security_opt",
        lambda *_: "the engine does not know it",
        'such as "no-new-privileges" or "seccomp=unconfined"',
    ),
    (
        r"unable to find (?:user|group) (\S+?):",
        "user",
        lambda m, _: f"the image has no user or group {m[1]}",
        "a number always works",
    ),
    (
        r"unable to find group (\S+?):",
        "group_add",
        lambda m, _: f"the image has no group {m[1]}",
        "a number always works",
    ),
    (
        r"no such container:? (\S+)|non.running container:? (\S+)|no container with name or ID \"([^\"]+)\"",
        "ipc",
        lambda m, _: f"no container {m[1] or m[2] or m[3]} runs on this engine",
        "docker ps names those that run",
    ),
    (
        r"exec: \\?\"([^\"\\]+)\\?\": (?:executable file not found|stat|permission|no such)",
        "command",
        lambda m, _: f"the image cannot run {m[1]}",
        "check command and entrypoint, or the image's own CMD and ENTRYPOINT",
    ),
)


def meaning(app: App, said: str) -> ConfigError | None:
    """The fault in the app's config that the engine's message `said` names; None when it is about something else."""
    for pattern, key, what, hint in _MEANINGS:
        found = re.search(pattern, said, re.IGNORECASE)
        if found is not None and _is_set(app.docker, key, found):
            return ConfigError(f"app.{app.name}.docker.{key}: {what(found, app.docker)}", hint=hint)
    return None


def _is_set(docker: DockerApp, key: str, said: _Said) -> bool:
    """Whether the config sets the key, to the value in the engine's message if that names one: a value from the image is no fault
    of the config."""
    match key:
        case "cap_add" | "cap_drop":
            names = {name.upper().removeprefix("CAP_") for name in getattr(docker, key)}
            return (said[1] or said[2]).upper().removeprefix("CAP_") in names
        case "command":
            return bool(docker.command or docker.entrypoint)
        case "log.driver" | "log.options":
            return docker.log is not None
        case _:
            return bool(getattr(docker, key))
