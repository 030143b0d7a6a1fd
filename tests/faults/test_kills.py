"""deployd is killed with SIGKILL at every record that it writes and at random moments of every step, under load.

`DEPLOYD_KILLS` says how often at least (without it so often that every point has its turn, 200 by `make faults`); the seed is
printed and can be given as `DEPLOYD_SEED`.
"""

import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from itertools import islice

import pytest

from deployd.bringup.engine import Engine
from deployd.errors import Unavailable
from tests.e2e.world import CONFIG
from tests.faults.conftest import MakeWorld
from tests.faults.daemon import POINTS, STEPS
from tests.faults.survivor import GOLDEN, Survivor, surviving
from tests.faults.witness import records

pytestmark = [pytest.mark.engine, pytest.mark.slow]

_CHAIN = 8
_ALL_POINTS = -(-len(POINTS) // _CHAIN) * (1 + _CHAIN + 1)  # one at rest, a chain of points, one inside a step
KILLS = int(os.environ.get("DEPLOYD_KILLS", str(_ALL_POINTS)))
SEED = int(os.environ.get("DEPLOYD_SEED", str(random.SystemRandom().randrange(1_000_000))))


@pytest.fixture
async def survivor(make_world: MakeWorld, docker_engine: Engine) -> AsyncIterator[Survivor]:
    """A world with a live release and clients that load it."""
    print(f"seed {SEED}")
    world = await make_world(CONFIG.replace('drain = "5s"', 'drain = "1s"') + GOLDEN)
    async with surviving(world, docker_engine, random.Random(SEED)) as here:
        yield here


async def _restart_to_die(survivor: Survivor, point: str, *, of_a_new_deploy: bool) -> None:
    """Start the daemon so that it dies at the point: mostly in the deploy that the last kill interrupted, before anyone can push;
    or, after it has resumed what was left and accepted deliveries, in a new deploy. A delivery needs a daemon that listens."""
    if not (of_a_new_deploy or point.endswith("accept delivery")):
        await survivor.restart(point)
        return
    ((known,),) = records(survivor.world, "SELECT max(number) FROM deploys")
    await survivor.restart(point, first=known + 1)
    with suppress(Unavailable):  # what is new may have been found by the poll
        await survivor.daemon.wait_until_ready()


def _in_turn(names: Sequence[str], chance: random.Random) -> Iterator[str]:
    """All points in a random order, then all again in another order."""
    while True:
        yield from chance.sample(names, len(names))


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


@pytest.mark.timeout(6000)
async def test_whenever_deployd_is_killed_the_head_goes_live_and_no_request_is_lost(survivor: Survivor) -> None:
    chance = random.Random(SEED)
    points, steps = _in_turn(POINTS, chance), _in_turn(STEPS, chance)
    while survivor.kills < KILLS:
        await survivor.kill()
        for point in islice(points, _CHAIN):
            await _restart_to_die(survivor, point, of_a_new_deploy=chance.random() < 0.5)
            await survivor.push()
            await survivor.dies()
        await survivor.restart()
        await survivor.settles()
        await survivor.dies_during(next(steps))
        await survivor.restart()
        await survivor.settles()
    assert survivor.taken, "no delivery was ever accepted"
    accepted = f"{len(survivor.taken)} deliveries accepted, none lost"
    print(f"{survivor.kills} kills, {accepted}, {survivor.load.sent} requests, {len(survivor.load.failures)} failed")
    print(f"{len(survivor.points)} of {len(POINTS)} points; what ran at the kills: {_counts(survivor.deaths)}")
    aimed = (f"{step} {survivor.hit[step]} of {count}" for step, count in survivor.aimed.items())
    print(f"inside the step at a random moment: {', '.join(aimed)}")
