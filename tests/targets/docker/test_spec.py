from datetime import UTC, datetime
from typing import Any

import pytest

from deployd.config.app import App
from deployd.domain import Deploy, Image, Status, Trigger
from deployd.targets.docker.spec import NetworkSettings, container_name, container_spec, ending, number_of

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
        },
        "ExposedPorts": {"5000/tcp": {}},
        "StopTimeout": 10,
        "NetworkingConfig": {"EndpointsConfig": {"deployd-here": {"IPAMConfig": {"IPv4Address": "172.20.0.2"}}}},
        "HostConfig": {
            "NetworkMode": "deployd-here",
            "PortBindings": {},
            "Binds": [],
            "Memory": 0,
            "NanoCpus": 0,
            "PidsLimit": 4096,
            "DeviceRequests": [],
            "RestartPolicy": {"Name": "no"},
            "Init": True,
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        },
    }


def test_limits_and_volumes_come_from_the_config() -> None:
    host = spec(memory="512MiB", cpus=1.5, volumes=["/data:/data:ro"])["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["Binds"]) == (512 * 2**20, 1_500_000_000, ["/data:/data:ro"])


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
    assert spec(gpus=0)["HostConfig"]["DeviceRequests"] == []


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
    assert container_name("iris", 42) == "deployd-iris-42"
    assert number_of({"Labels": {"io.deployd.deploy": "42"}}) == 42
    assert number_of({"Config": {"Labels": {"io.deployd.deploy": "7"}}}) == 7
    assert number_of({"Config": {"Labels": None}}) is None
