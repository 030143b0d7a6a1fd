"""A real Docker Engine is killed or stopped, and started: with live restore no request fails, without it the app is restarted.

An engine of the test's own: the shared one stays up. The container of a build that a killed engine has not removed itself is the
engine's, and not looked for: it says nowhere whose it is.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.images import HAPROXY, PYTHON
from deployd.bringup.load import Load
from deployd.status import Status
from tests.conftest import needed
from tests.e2e.world import CONFIG, DOCKERFILE, REST, WHO, World, world
from tests.faults.promises import check_clients, check_world
from tests.faults.witness import answers, begins, finishes, until
from tests.testbed.spare_engine import SpareEngine, spare_engine

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory, base_images: Engine) -> Iterator[SpareEngine]:
    """An engine whose containers run on without it."""
    yield from _spare(tmp_path_factory.mktemp("engine"), base_images, live_restore=True)


@pytest.fixture
def mortal(tmp_path_factory: pytest.TempPathFactory, base_images: Engine) -> Iterator[SpareEngine]:
    """An engine that stops its containers when it stops, which is Docker's default."""
    yield from _spare(tmp_path_factory.mktemp("engine"), base_images, live_restore=False)


def _spare(directory: Path, source: Engine, *, live_restore: bool) -> Iterator[SpareEngine]:
    with ExitStack() as stack:
        spare = needed(lambda: stack.enter_context(spare_engine(directory, live_restore=live_restore)))
        spare.take_images([PYTHON, HAPROXY], source.url)
        yield spare


@pytest.fixture
async def here(tmp_path: Path, spare: SpareEngine) -> AsyncIterator[World]:
    """A world on that engine, with a live release."""
    async with world(tmp_path, CONFIG.replace('stop_timeout = "2s"', 'stop_timeout = "8s"'), spare.environment) as made:
        await made.ended(await made.push(dockerfile=_SLOW_TO_STOP))
        yield made
        print(made.daemon.log.read_text()[-30_000:])
    await asyncio.to_thread(spare.remove_containers)


_SLOW_TO_STOP = DOCKERFILE.replace(
    "CMD [", 'CMD ["sh", "-c", "trap \'sleep 3; exit\' TERM; python3 -u /app.py & wait"]\n#'
)
_SLOW_TO_START = DOCKERFILE.replace("CMD [", 'CMD ["sh", "-c", "sleep 3; exec python3 -u /app.py"]\n#')


async def test_a_deploy_goes_live_after_the_engine_was_killed_during_its_build(here: World, spare: SpareEngine) -> None:
    load = Load(here.daemon.public_url, rest=REST)
    async with load.running(WHO):
        deploy = await here.push(dockerfile=DOCKERFILE + "RUN sleep 4\n")
        await here.says(deploy, "RUN sleep 4")
        await asyncio.to_thread(spare.kill)
        await until(here, deploy, Status.QUEUED, "trying again")
        await asyncio.to_thread(spare.start)
        live = await here.ended(deploy)
        await finishes(here, live)
    assert live.status is Status.LIVE
    check_clients(load)
    check_world(here, spare.api())


async def test_a_deploy_goes_live_after_the_engine_was_restarted_while_the_candidate_started(
    here: World, spare: SpareEngine
) -> None:
    load = Load(here.daemon.public_url, rest=REST)
    async with load.running(WHO):
        deploy = await here.push(dockerfile=_SLOW_TO_START)
        await begins(here, deploy, "ready")
        await asyncio.to_thread(spare.stop)
        await asyncio.to_thread(spare.start)
        live = await here.ended(deploy)
        await finishes(here, live)
    assert live.status is Status.LIVE
    check_clients(load)
    check_world(here, spare.api())


async def test_a_deploy_ends_well_after_the_engine_was_killed_during_its_drain(here: World, spare: SpareEngine) -> None:
    load = Load(here.daemon.public_url, rest=REST)
    async with load.running(WHO):
        deploy = await here.push()
        await until(here, deploy, Status.LIVE)
        await begins(here, deploy, "drain")
        await asyncio.to_thread(spare.kill)
        await asyncio.to_thread(spare.start)
        live = await here.ended(deploy)
        await finishes(here, live)
    check_clients(load)
    check_world(here, spare.api())


async def test_the_release_serves_again_after_an_engine_that_stopped_its_containers(
    tmp_path: Path, mortal: SpareEngine
) -> None:
    async with world(tmp_path, environment=mortal.environment) as here:
        first = await here.ended(await here.push())
        await asyncio.to_thread(mortal.stop)
        await asyncio.to_thread(mortal.start)
        assert await answers(here) == first.commit
        second = await here.ended(await here.push())
        assert second.status is Status.LIVE
        assert await answers(here) == second.commit
        await finishes(here, second)
        check_world(here, mortal.api())
