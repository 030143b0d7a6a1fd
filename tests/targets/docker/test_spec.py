from datetime import UTC, datetime
from typing import Any

import pytest

from deployd.config.app import App
from deployd.domain import Deploy, Image
from deployd.goal import Trigger
from deployd.status import Status
from deployd.targets.docker.spec import NetworkSettings, container_name, container_spec, ending, names_of, number_of

HERE = NetworkSettings("here", "deployd-here", "172.20.0.2")


def spec(settings: NetworkSettings = HERE, secrets: dict[str, str] | None = None, **docker: Any) -> dict[str, Any]:
    app = App.model_validate(
        {
            "name": "iris",
            "repo": "https://git.example.com/a/iris.git",
            "branch": "main",
            "docker": docker,
            "gateway": {"listen": 8000},
        }
    )
    deploy = Deploy("iris", 42, "c0ffee", "refs/heads/main", Trigger("push"), Status.CHECKING, datetime.now(UTC))
    return container_spec(app, deploy, Image("deployd/iris", "c0ffee", "sha256:1"), settings, secrets or {})


def test_a_candidate_is_labelled_and_neither_published_nor_restarted() -> None:
    assert spec() == {
        "Image": "sha256:1",
        "Env": [],
        "Labels": {
            "io.deployd.instance": "here",
            "io.deployd.app": "iris",
            "io.deployd.deploy": "42",
            "io.deployd.commit": "c0ffee",
            "io.deployd.port": "5000",
            "io.deployd.address": "172.20.0.2",
        },
        "ExposedPorts": {"5000/tcp": {}},
        "StopTimeout": 10,
        "NetworkingConfig": {"EndpointsConfig": {"deployd-here": {"IPAMConfig": {"IPv4Address": "172.20.0.2"}}}},
        "HostConfig": {
            "NetworkMode": "deployd-here",
            "PortBindings": {},
            "PidsLimit": 4096,
            "RestartPolicy": {"Name": "no"},
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        },
    }


def test_limits_and_volumes_come_from_the_config() -> None:
    host = spec(memory="512MiB", cpus=1.5, volumes=["data:/data:ro"])["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["Binds"]) == (512 * 2**20, 1_500_000_000, ["data:/data:ro"])


def test_a_path_of_the_host_is_mounted_and_never_made() -> None:
    host = spec(volumes=["/srv/a:/a", "/srv/b:/b:ro,rslave", "/srv/c:/c:Z"])["HostConfig"]
    assert host["Mounts"] == [
        {"Type": "bind", "Source": "/srv/a", "Target": "/a", "ReadOnly": False},
        {
            "Type": "bind",
            "Source": "/srv/b",
            "Target": "/b",
            "ReadOnly": True,
            "BindOptions": {"Propagation": "rslave"},
        },
    ]
    assert host["Binds"] == ["/srv/c:/c:Z"]  # only a bind can be labelled for SELinux


def test_the_options_of_docker_run_reach_the_container() -> None:
    made = spec(
        command=["serve"], entrypoint=["/init"], user="1000:1000", group_add=["video"], init=True, read_only=True,
        tmpfs=["/run", "/tmp:size=64m"], shm_size="1GiB", ipc="host", ulimits={"nofile": "1024:2048", "memlock": -1},
        sysctls={"net.core.somaxconn": "1024"}, cap_add=["sys_nice"], cap_drop=["ALL"], devices=["/dev/fuse", "/dev/a:/dev/b:r"],
        runtime="nvidia", extra_hosts=["db:10.0.0.5"], dns=["10.0.0.53"], labels={"team": "ml"},
        log={"driver": "journald", "options": {"tag": "iris"}},
    )  # fmt: skip
    assert (made["Cmd"], made["Entrypoint"], made["User"]) == (["serve"], ["/init"], "1000:1000")
    assert made["Labels"]["team"] == "ml"
    assert (
        made["HostConfig"].items()
        >= {
            "Init": True,
            "ReadonlyRootfs": True,
            "Tmpfs": {"/run": "", "/tmp": "size=64m"},
            "ShmSize": 2**30,
            "IpcMode": "host",
            "Ulimits": [
                {"Name": "nofile", "Soft": 1024, "Hard": 2048},
                {"Name": "memlock", "Soft": -1, "Hard": -1},
            ],
            "Sysctls": {"net.core.somaxconn": "1024"},
            "CapAdd": ["SYS_NICE"],
            "CapDrop": ["ALL"],
            "GroupAdd": ["video"],
            "Devices": [
                {"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"},
                {"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "r"},
            ],
            "Runtime": "nvidia",
            "ExtraHosts": ["db:10.0.0.5"],
            "Dns": ["10.0.0.53"],
            "LogConfig": {"Type": "journald", "Config": {"tag": "iris"}},
        }.items()
    )


def test_all_that_deployd_adds_to_docker_run_can_be_switched_off() -> None:
    host = spec(pids_limit=0, security_opt=[], log={"driver": "json-file"})["HostConfig"]
    assert host.keys() == {"NetworkMode", "PortBindings", "RestartPolicy", "LogConfig"}
    assert host["LogConfig"] == {"Type": "json-file", "Config": {}}


def test_an_engine_with_a_log_driver_of_its_own_keeps_it() -> None:
    journald = NetworkSettings("here", "deployd-here", "172.20.0.2", log_driver="journald")
    assert "LogConfig" not in spec(journald)["HostConfig"]


def test_an_init_that_is_switched_off_is_off_whatever_the_engine_s_default() -> None:
    assert spec(init=False)["HostConfig"]["Init"] is False


def test_a_secret_replaces_a_plain_variable_of_the_same_name() -> None:
    assert spec(env={"A": "1", "B": "2"}, secrets={"B": "s"})["Env"] == ["A=1", "B=s"]


def test_a_stop_timeout_is_rounded_up() -> None:
    assert spec(stop_timeout="1500ms")["StopTimeout"] == 2


@pytest.mark.parametrize(("gpus", "count"), [("all", -1), (2, 2)])
def test_gpus_are_requested_by_capability(gpus: str | int, count: int) -> None:
    assert spec(gpus=gpus)["HostConfig"]["DeviceRequests"] == [
        {"Driver": "", "Count": count, "Capabilities": [["gpu"]]}
    ]


def test_no_gpu_is_no_request() -> None:
    assert "DeviceRequests" not in spec(gpus=0)["HostConfig"]


def test_where_deployd_cannot_reach_containers_the_port_is_published_on_loopback() -> None:
    published = spec(NetworkSettings("here", "deployd-here", "172.20.0.2", published=True))
    assert published["HostConfig"]["PortBindings"] == {"5000/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}


def test_on_the_host_network_no_address_is_requested() -> None:
    assert spec(NetworkSettings("here", "host", None))["NetworkingConfig"] == {}


@pytest.mark.parametrize(
    ("state", "memory", "said"),
    [
        ({"OOMKilled": False, "ExitCode": 1, "Error": ""}, 0, "exited with code 1"),
        (
            {"OOMKilled": True, "ExitCode": 137, "Error": ""},
            256 * 2**20,
            "was killed for lack of memory (limit 256 MiB)",
        ),
        ({"OOMKilled": True, "ExitCode": 137, "Error": ""}, 0, "was killed for lack of memory"),
        ({"OOMKilled": False, "ExitCode": 127, "Error": "no such file"}, 0, "did not start: no such file"),
    ],
)
def test_the_end_of_a_container_has_a_reason(state: dict[str, Any], memory: int, said: str) -> None:
    assert ending({"State": state, "HostConfig": {"Memory": memory}}) == said


def test_a_container_knows_its_deploy() -> None:
    assert container_name("production", "iris", 42) == "deployd-production-iris-42"
    assert names_of("production", "iris", 42) == {"deployd-production-iris-42", "deployd-iris-42"}
    assert number_of({"Labels": {"io.deployd.deploy": "42"}}) == 42
    assert number_of({"Config": {"Labels": {"io.deployd.deploy": "7"}}}) == 7
    assert number_of({"Config": {"Labels": None}}) is None
