"""A release that is made to serve again while somebody removes its container."""

from typing import Any, cast

import pytest

from deployd.engine.connection import Refused
from deployd.errors import RolloutFailed
from deployd.gateway.gateway import Gateway
from deployd.targets.docker.container import ContainerRemoved
from deployd.targets.docker.containers import Containers
from deployd.targets.docker.restore import restore
from tests.fakes import FakeMade
from tests.targets.docker.world import a_deploy, an_app

MARKED = "container 0a1b is marked for removal and cannot be started"


class _Removing:
    """The engine while it removes a container: it refuses to start or change it."""

    async def start(self, container: str) -> None:
        raise Refused(f"starting {container}", MARKED, 409)

    async def update(self, container: str, settings: object) -> None:
        raise Refused(f"changing {container}", f"Cannot update container {container}: {MARKED}", 500)


class _Containers:
    """Has a container of release 1, which is removed under deployd's hands `times` times."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.begun = 0

    async def repair(self, *_: object) -> bool:
        self.begun += 1
        if self.begun <= self.left:
            raise ContainerRemoved("somebody removed its container meanwhile")
        raise RolloutFailed("as far as the gates")


async def _restored(containers: _Containers) -> None:
    await restore(an_app(1), a_deploy(1, None), cast("Containers", containers), cast("Gateway", None))


async def test_a_container_that_the_engine_is_removing_counts_as_removed() -> None:
    removing: Any = type("Engine", (), {"containers": _Removing(), "networks": None})()
    containers = Containers(removing, "here", FakeMade())
    with pytest.raises(ContainerRemoved, match="somebody removed its container meanwhile"):
        await containers.set_restart_policy("0a1b", "no")
    with pytest.raises(ContainerRemoved):
        await containers.start(an_app(1), 1, "0a1b")


async def test_a_container_that_is_removed_meanwhile_is_made_anew() -> None:
    containers = _Containers(2)
    with pytest.raises(RolloutFailed, match="as far as the gates"):
        await _restored(containers)
    assert containers.begun == 3


async def test_a_container_that_is_removed_each_time_is_told() -> None:
    with pytest.raises(RolloutFailed, match="again and again"):
        await _restored(_Containers(9))
