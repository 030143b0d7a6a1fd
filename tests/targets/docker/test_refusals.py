"""The words of engines, old and new, as faults of the config."""

from typing import Any

import pytest

from deployd.targets.docker.refusals import meaning
from tests.targets.docker.world import NAME, an_app

GPU = {"gpus": "all"}


@pytest.mark.parametrize(
    ("docker", "said", "fault"),
    [
        (
            {"volumes": ["/x:/x"]},
            'invalid mount config for type "bind": bind source path does not exist: /x',
            "volumes: the host has no /x",
        ),
        ({"volumes": ["/x:/x"]}, "statfs /x: no such file or directory", "volumes: the host has no /x"),
        (
            {"cpus": 64},
            "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
            "cpus: this engine has 2 CPUs",
        ),
        ({"memory": "6MiB"}, "Minimum memory limit allowed is 8MB", "memory: this engine gives at least 8MB"),
        (
            GPU,
            'could not select device driver "" with capabilities: [[gpu]]',
            "gpus: this engine has no runtime for GPUs",
        ),
        (
            GPU,
            "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=all",
            "gpus: this engine has no runtime",
        ),
        ({"runtime": "x"}, "unknown or invalid runtime name: x", "runtime: this engine has no runtime x"),
        (
            {"cap_drop": ["NO"]},
            'invalid CapDrop: unknown capability: "CAP_NO"',
            "cap_drop: there is no capability CAP_NO",
        ),
        (
            {"cap_add": ["SYS_TIME"], "cap_drop": ["cap_no"]},
            'container create: "CAP_NO": unknown capability',
            "cap_drop: there is no capability CAP_NO",
        ),
        (
            {"devices": ["/dev/x"]},
            "container create: stat /dev/x: no such file or directory",
            "devices: the host has no /dev/x",
        ),
        (
            {"sysctls": {"kernel.x": "1"}},
            "fill out specgen: sysctl 'kernel.x' is not allowed",
            "sysctls: kernel.x is not a container's own",
        ),
        (
            {"ipc": "container:x"},
            'looking up container to share ipc namespace with: no container with name or ID "x" found: no such container',
            "ipc: no container x runs on this engine",
        ),
        (
            {"log": {"driver": "x"}},
            "running container create option: invalid log driver: invalid argument",
            "log.driver: this engine has no log driver x",
        ),
        (
            {"log": {"driver": "x"}},
            "logger: no log driver named 'x' is registered",
            "log.driver: this engine has no log driver x",
        ),
        (
            {"log": {"driver": "journald", "options": {"max-size": "1m"}}},
            "unknown log opt 'max-size' for journald log driver",
            "log.options: journald has no option max-size",
        ),
        (
            {"ulimits": {"nofile": 10**9}},
            "error setting rlimits for ready process: error setting rlimit type 7: operation not permitted",
            "ulimits: a limit is above what the engine itself may use",
        ),
        (
            {"sysctls": {"net.core.x": "1"}},
            "open sysctl net.core.x file: openat2 fsmount:fscontext:proc/./sys/net/core/x: no such file or directory",
            "sysctls: the host's kernel does not take net.core.x",
        ),
        (
            {"user": "nobody2"},
            "unable to find user nobody2: no matching entries in passwd file",
            "user: the image has no user or group nobody2",
        ),
        (
            {"group_add": ["render2"]},
            "Unable to find group render2: no matching entries in group file",
            "group_add: the image has no group render2",
        ),
        (
            {"entrypoint": ["/init"]},
            'failed to create task: exec: "/init": stat /init: no such file or directory: unknown',
            "command: the image cannot run /init",
        ),
    ],
)
def test_a_refusal_names_the_key_at_fault(docker: dict[str, Any], said: str, fault: str) -> None:
    found = meaning(an_app(1, **docker), said)
    assert found is not None
    assert found.message.startswith(f"app.{NAME}.docker.{fault}")
    assert found.hint


@pytest.mark.parametrize(
    "said",
    [
        'exec: "python3": executable file not found in $PATH',
        "unable to find user app: no matching entries in passwd file",
        "driver failed programming external connectivity",
        "",
    ],
)
def test_a_refusal_of_a_value_from_the_image_is_no_fault_of_the_config(said: str) -> None:
    assert meaning(an_app(1), said) is None
