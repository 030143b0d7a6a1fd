"""What is read from the engine's list of containers, as Docker and Podman answer it."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from deployd.config.app import App
from deployd.engine.client import EngineClient
from deployd.ports.target import Made
from deployd.targets.docker.containers import Containers

DOCKER = {"HostConfig": {"NetworkMode": "deployd-here"}}
PODMAN = {"Config": None, "NetworkingConfig": None, "Name": ""}  # no HostConfig


def listed(number: int, networks: Mapping[str, object], state: str, **more: object) -> dict[str, Any]:
    labels = {
        "io.deployd.app": "iris",
        "io.deployd.deploy": str(number),
        "io.deployd.port": "5000",
        "io.deployd.address": f"10.89.0.{number}",
    }
    names = [f"/deployd-here-iris-{number}"]
    described = {"Id": f"c{number}", "Names": names, "Labels": labels, "State": state, **more}
    return described | {"NetworkSettings": {"Networks": networks}}


def containers(*known: Mapping[str, Any]) -> Containers:
    """Those of an engine that lists `known`."""

    async def answer(_: Mapping[str, str], **__: str) -> Sequence[Mapping[str, Any]]:
        return known

    engine = SimpleNamespace(containers=SimpleNamespace(list=answer), networks=None, images=None)
    return Containers(cast("EngineClient", engine), "here", cast("Made", None))


@pytest.mark.parametrize("engine", [DOCKER, PODMAN])
async def test_containers_are_known_by_their_addresses_with_docker_and_with_podman(
    engine: Mapping[str, object],
) -> None:
    stopped = {"deployd-here": {"IPAMConfig": None, "IPAddress": "", "NetworkID": "deployd-here"}}
    runs = {"deployd-here": {"IPAMConfig": None, "IPAddress": "10.89.0.2"}}
    host = {"host": {"IPAMConfig": None, "IPAddress": ""}}
    found = await containers(
        listed(2, runs, "running", **engine),
        listed(3, stopped, "exited", **engine),
        listed(4, host, "running", **engine),
    ).addresses(
        {
            "iris": App.model_validate(
                {"name": "iris", "repo": "/srv/iris.git", "branch": "main", "gateway": {"listen": 8000}}
            )
        }
    )
    assert found == {"iris": {"10.89.0.2:5000": 2, "10.89.0.3:5000": 3, "127.0.0.1:5000": 4}}
