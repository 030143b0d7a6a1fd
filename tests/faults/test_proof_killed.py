"""deployd is killed while it proves a commit, under load: it is proven in the end, and nothing of it is left but its image."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.leftovers import leftovers
from deployd.status import Status
from tests.e2e.world import CONFIG
from tests.faults.conftest import MakeWorld
from tests.faults.daemon import PROOF
from tests.faults.promises import check_clients
from tests.faults.survivor import GOLDEN, Survivor, surviving
from tests.faults.witness import records, until

pytestmark = [pytest.mark.engine, pytest.mark.slow]

_CHANGES = "SELECT decided, wanted, wanted_number FROM apps"


@pytest.fixture
async def survivor(make_world: MakeWorld, docker_engine: Engine) -> AsyncIterator[Survivor]:
    """A world with a live release and clients that load it."""
    async with surviving(await make_world(CONFIG + GOLDEN), docker_engine, random.Random(2)) as here:
        yield here


def _commit_beside(survivor: Survivor) -> str:
    """A commit that is no head of what the app follows."""
    repository, subject = survivor.world.repository, f"Try {survivor.kills}"
    survivor.change()
    for arguments in (
        ("checkout", "-B", "next"),
        ("commit", "--all", "-m", subject),
        ("push", "--force", "origin", "next"),
    ):
        repository._git(arguments[0], "--quiet", *arguments[1:], cwd=repository.work)
    return repository._git("rev-parse", "HEAD", cwd=repository.work).strip()


async def _left(survivor: Survivor, engine: Engine) -> set[str]:
    """What is on the engine of this instance beside the recorded images, once no other image is there."""
    query = "SELECT name FROM builds WHERE image NOTNULL"
    async with asyncio.timeout(30):
        while True:
            recorded = {f"image {name}" for (name,) in records(survivor.world, query)}
            left = {str(thing) for thing in leftovers(engine.api(), survivor.daemon.instance)} - recorded
            if not any(thing.startswith("image ") for thing in left):
                return left
            await asyncio.sleep(0.1)  # no event tells of the removal


@pytest.mark.timeout(300)
async def test_whenever_deployd_is_killed_in_a_proof_it_is_proven_in_the_end_and_nothing_of_it_is_left(
    survivor: Survivor, docker_engine: Engine
) -> None:
    world = survivor.world
    before = records(world, _CHANGES)
    for point in PROOF:
        await survivor.kill()
        await survivor.restart(point)
        await survivor.daemon.wait_until_ready()
        proof = await world.client.prove(world.app, _commit_beside(survivor))
        await survivor.dies()
        await survivor.restart()
        await survivor.daemon.wait_until_ready()
        await until(world, proof, Status.PROVEN)
        assert await _left(survivor, docker_engine) == {
            f"container {survivor.daemon.container(1)}",
            f"container deployd-gateway-{survivor.daemon.instance}",
            f"network deployd-{survivor.daemon.instance}",
        }
    assert survivor.points == set(PROOF)
    assert records(world, "SELECT number, status FROM deploys WHERE status != 'proven'") == [(1, "live")]
    assert records(world, _CHANGES) == before
    assert len({turn for client in survivor.load.clients for turn in client.turns}) == 1
    check_clients(survivor.load)
