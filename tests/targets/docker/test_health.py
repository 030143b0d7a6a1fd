"""What the engine's description of a container means for the release that should serve."""

from typing import Any, cast

import pytest
from msgspec import structs

from deployd.config.digest import release_digest
from deployd.domain import Health
from deployd.gateway.gateway import Gateway
from deployd.gateway.slots import Endpoint
from deployd.targets.docker.containers import Containers
from deployd.targets.docker.health import health
from tests.targets.docker.world import NAME, a_deploy, an_app

HERE, ELSEWHERE = Endpoint("10.0.0.2", 5000), Endpoint("10.0.0.3", 5000)
DEPLOY = a_deploy(1, None)


def _described(*, policy: str = "unless-stopped", **state: Any) -> dict[str, Any]:
    running = {"Running": True, "Paused": False, "Restarting": False, "OOMKilled": False, "Error": "", "ExitCode": 0}
    return {
        "State": {**running, **state},
        "HostConfig": {"RestartPolicy": {"Name": policy}, "NetworkMode": "deployd-here", "Memory": 0},
    }


class _Containers:
    """One container of release 1."""

    def __init__(self, found: dict[str, Any] | None) -> None:
        self.found = found

    async def described(self, *_: object) -> dict[str, Any] | None:
        return self.found

    def missing_networks(self, *_: object) -> list[str]:
        return []

    def endpoint_of(self, *_: object) -> Endpoint:
        return HERE

    def address_of(self, *_: object) -> str:
        return "http://127.0.0.1:1"  # nothing listens


class _Gateway:
    """Sends the traffic of the app to one endpoint."""

    secure = False

    def __init__(self, to: Endpoint | None) -> None:
        self.to = to

    async def serving(self, app: str) -> Endpoint | None:
        assert app == NAME
        return self.to


async def _health(found: dict[str, Any] | None, to: Endpoint | None = HERE, config: str | None = None) -> Health:
    deploy = structs.replace(DEPLOY, config=config)
    return await health(an_app(1), deploy, cast("Containers", _Containers(found)), cast("Gateway", _Gateway(to)))


@pytest.mark.parametrize(
    ("found", "to", "detail"),
    [
        (None, HERE, "its container was removed"),
        (_described(Running=False, ExitCode=137), HERE, "its container exited with code 137"),
        (_described(Running=False, OOMKilled=True), HERE, "its container was killed for lack of memory"),
        (_described(Paused=True), HERE, "its container is paused"),
        (_described(policy="no"), HERE, "the engine would not restart its container"),
        (_described(), ELSEWHERE, f"the gateway sends its traffic to {ELSEWHERE} instead of {HERE}"),
        (_described(), None, f"the gateway sends its traffic to nothing instead of {HERE}"),
    ],
)
async def test_a_release_that_does_not_run_as_it_should_is_down(
    found: dict[str, Any] | None, to: Endpoint | None, detail: str
) -> None:
    assert await _health(found, to) == Health("down", detail)


async def test_a_release_that_crashes_again_and_again_is_left_to_the_engine() -> None:
    told = await _health(_described(Restarting=True, ExitCode=3))
    assert told == Health("unready", "its container exited with code 3, and restarts again and again")


async def test_a_release_that_does_not_answer_is_told() -> None:
    assert await _health(_described()) == Health("unready", "/ready: connection refused")


async def test_a_release_is_not_judged_by_a_config_that_came_after_it() -> None:
    older, present = "older", release_digest(an_app(1))
    assert (await _health(_described(policy="no"), config=older)).state == "unready"
    assert (await _health(_described(policy="no"), config=present)).state == "down"
