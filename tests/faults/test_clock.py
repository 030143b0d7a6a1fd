"""The host's clock jumps by days, forward and back, during a deploy: order, waits and limits do not depend on it."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.load import Load
from deployd.status import Status
from tests.conftest import needed
from tests.e2e.world import DOCKERFILE, REST, WHO
from tests.faults.conftest import MakeWorld
from tests.faults.promises import check_clients, check_world
from tests.faults.witness import begins, finishes, records
from tests.testbed.programs import unpacked

pytestmark = [pytest.mark.engine, pytest.mark.slow]

_SLOW_TO_START = DOCKERFILE.replace("CMD [", 'CMD ["sh", "-c", "sleep 2; exec python3 -u /app.py"]\n#')


@pytest.fixture
def jump(tmp_path: Path) -> Callable[[str], object]:
    """Set the offset of the daemon's clock, such as `+3d`. It is read at each call; the monotonic clock is not affected."""
    return (tmp_path / "offset").write_text


@pytest.fixture
def environment(tmp_path: Path, jump: Callable[[str], object]) -> dict[str, str]:
    """The environment that gives a process that clock."""
    (library,) = needed(lambda: unpacked("libfaketime")).glob("usr/lib/*/faketime/libfaketime.so.1")
    jump("+0")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "offset"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


async def test_a_clock_that_jumps_does_not_change_what_is_deployed(
    make_world: MakeWorld, docker_engine: Engine, environment: dict[str, str], jump: Callable[[str], object]
) -> None:
    world = await make_world(environment=environment)
    first = await world.ended(await world.push())
    assert abs(first.created_at.timestamp() - time.time()) < 3600
    load = Load(world.daemon.public_url, rest=REST)
    async with load.running(WHO):
        second = await world.push(dockerfile=DOCKERFILE + "RUN sleep 2\n")
        await world.says(second, "RUN sleep 2")
        jump("+3d")
        second = await world.ended(second)
        third = await world.push(dockerfile=_SLOW_TO_START)
        await begins(world, third, "ready")
        jump("-4d")
        third = await world.ended(third)
        await finishes(world, third)
        slow = await world.push(dockerfile=DOCKERFILE + "RUN sleep 60\n")
        await world.says(slow, "RUN sleep 60")
        jump("+1d")
        last = await world.ended(await world.push())
        await finishes(world, last)
    assert second.live_at is not None
    assert third.live_at is not None
    assert (second.live_at - third.live_at).days >= 6, "the clock did not jump"
    statuses = records(world, "SELECT status FROM deploys ORDER BY number")
    assert [status for (status,) in statuses] == ["retired", "retired", "retired", "superseded", "live"]
    assert last.status is Status.LIVE
    check_clients(load)
    check_world(world, docker_engine.api())
