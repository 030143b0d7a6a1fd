"""deployd is killed by SIGKILL at every point of its records and at random moments inside every step, under load.

`DEPLOYD_KILLS` says how often at least (40, and 200 by `make faults`); the seed is printed and can be given as `DEPLOYD_SEED`.
"""

import os
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from deployd.demo.daemon import DemoDaemon
from deployd.demo.engine import Engine
from deployd.demo.load import Load
from deployd.errors import Unavailable
from tests.e2e.world import CONFIG, WHO, world
from tests.faults.daemon import POINTS
from tests.faults.survivor import Survivor
from tests.faults.witness import records

pytestmark = [pytest.mark.engine, pytest.mark.slow]

KILLS = int(os.environ.get("DEPLOYD_KILLS", "40"))
SEED = int(os.environ.get("DEPLOYD_SEED", str(random.SystemRandom().randrange(1_000_000))))
_STEPS = ("fetch", "build", "candidate", "ready", "cut-over", "drain")
_CHAIN = 4


@pytest.fixture
async def survivor(tmp_path: Path, docker_engine: Engine, base_images: object) -> AsyncIterator[Survivor]:
    """A world with its first release live and a load on it."""
    print(f"seed {SEED}")
    daemon: DemoDaemon | None = None
    try:
        async with world(tmp_path, CONFIG.replace('drain = "5s"', 'drain = "1s"')) as here:
            daemon = here.daemon
            here.daemon.program = ("-m", "tests.faults.daemon")
            await here.ended(await here.push())
            load = Load(here.daemon.public_url)
            async with load.running(WHO, kept=1, fresh=1):
                yield Survivor(here, load, docker_engine, random.Random(SEED))
            print(here.daemon.log.read_text()[-20_000:])
    finally:
        if daemon is not None:
            daemon.remove_everything(docker_engine.api())


async def _restart_to_die(survivor: Survivor, point: str, *, of_a_new_deploy: bool) -> None:
    """Start it to die at the point of whatever comes there first, mostly of what the last death interrupted, before anybody can
    push; or to take up what was left, to take deliveries, and to die at that point of what is new."""
    if not of_a_new_deploy:
        await survivor.restart(point)
        return
    ((known,),) = records(survivor.world, "SELECT max(number) FROM deploys")
    await survivor.restart(point, first=known + 1)
    with suppress(Unavailable):  # what is new may have been found by the poll
        await survivor.daemon.answering()


@pytest.mark.timeout(6000)
async def test_whenever_deployd_is_killed_the_head_goes_live_and_no_request_is_lost(survivor: Survivor) -> None:
    chance = random.Random(SEED)
    points = list(POINTS)
    while survivor.kills < KILLS:
        chance.shuffle(points)
        for start in range(0, len(points), _CHAIN):
            if survivor.kills >= KILLS:
                break
            await survivor.kill()
            for point in points[start : start + _CHAIN]:
                await _restart_to_die(survivor, point, of_a_new_deploy=chance.random() < 0.5)
                await survivor.push()
                await survivor.dies()
            await survivor.restart()
            await survivor.settles()
            step = chance.choice(_STEPS)
            await survivor.push()
            await survivor.dies_during(step)
            await survivor.restart()
            await survivor.settles()
    assert survivor.taken, "no delivery was ever accepted"
    accepted = f"{len(survivor.taken)} deliveries accepted, none lost"
    print(f"{survivor.kills} kills, {accepted}, {survivor.load.sent} requests, {len(survivor.load.failures)} failed")
