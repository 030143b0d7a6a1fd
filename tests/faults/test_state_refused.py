"""The disk is full, or another process locks the database: pushes are refused and not lost, and nothing is half-written."""

import sqlite3
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from deployd.api.answers import DeployAnswer
from deployd.bringup.engine import Engine
from deployd.bringup.load import Load
from deployd.bringup.repository import deliver
from deployd.errors import Unavailable
from deployd.status import Status
from tests.conftest import needed
from tests.e2e.world import CONFIG, DOCKERFILE, REST, WHO, World
from tests.faults.conftest import MakeWorld
from tests.faults.promises import check_clients, check_world
from tests.faults.witness import database_of, finishes, readyz, records, says, serving

pytestmark = [pytest.mark.engine, pytest.mark.slow]

_SLOW = DOCKERFILE + "RUN sleep 2\n"
_STAGE = "FROM python:3.11-slim-bookworm AS made\nARG COMMIT\nRUN sleep 5; echo $COMMIT > /made\n"


@contextmanager
def _disk_of(size: str, place: Path) -> Iterator[None]:
    place.mkdir()
    needed(lambda: _mount(size, place))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _mount(size: str, place: Path) -> None:
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if (ended := subprocess.run(mounting, check=False, capture_output=True, text=True)).returncode != 0:
        raise Unavailable("no file system can be mounted here", hint=ended.stderr.strip())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB for the state directory."""
    with _disk_of("64m", tmp_path / "state"):
        yield tmp_path / "state"


def _fill(disk: Path) -> Path:
    """Fill the disk to its last byte."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1024 * 1024, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return ballast


async def test_on_a_full_disk_pushes_are_refused_and_a_redelivery_goes_live(
    small_disk: Path, make_world: MakeWorld, docker_engine: Engine
) -> None:
    world = await make_world()
    first = await world.ended(await world.push())
    await finishes(world, first)
    load = Load(world.daemon.public_url, rest=REST)
    async with load.running(WHO):
        ballast = _fill(small_disk)
        world.change()
        payload, guid = world.repository.push("Change"), str(uuid.uuid4())
        await readyz(world, "disk", "full")
        before = records(world, "SELECT * FROM deliveries") + records(world, "SELECT * FROM deploys")
        for _ in range(3):
            answer = await deliver(world.daemon.url, world.daemon.secret, payload, guid)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
        assert before == records(world, "SELECT * FROM deliveries") + records(world, "SELECT * FROM deploys")
        assert await serving(world) == first.commit
        ballast.unlink()
        live = await _taken(world, payload, guid)
        await finishes(world, live)
    check_clients(load)
    check_world(world, docker_engine.api())


async def test_a_disk_that_fills_during_a_deploy_only_delays_it(
    small_disk: Path, make_world: MakeWorld, docker_engine: Engine
) -> None:
    """The disk fills during a build of two stages, of which the first is build cache."""
    world = await make_world()
    await world.ended(await world.push())
    load = Load(world.daemon.public_url, rest=REST)
    async with load.running(WHO):
        # Nothing else will know whose the end of that stage is, so it says so itself.
        stage = f"{_STAGE}LABEL io.deployd.instance={world.daemon.instance}\n"
        deploy = await world.push(dockerfile=f"{stage}{DOCKERFILE}COPY --from=made /made /made\n")
        await world.says(deploy, "sleep 5")
        ballast = _fill(small_disk)
        await readyz(world, "disk", "full")
        await says(world, "Cannot write the state; trying again")
        ballast.unlink()
        live = await world.ended(deploy)
        assert live.status is Status.LIVE, live.reason
        await finishes(world, live)
    check_clients(load)
    check_world(world, docker_engine.api())


async def test_a_daemon_on_a_full_disk_still_stops_and_starts(
    small_disk: Path, make_world: MakeWorld, docker_engine: Engine
) -> None:
    world = await make_world(CONFIG.replace("[github]", 'stop_timeout = "5s"\n[github]'))
    first = await world.ended(await world.push())
    await finishes(world, first)
    deploy = await world.push(dockerfile=_SLOW.replace("sleep 2", "sleep 30"))
    await world.says(deploy, "sleep 30")
    ballast = _fill(small_disk)
    began = time.monotonic()
    await world.daemon.stop()
    assert world.daemon.process is not None
    assert world.daemon.process.returncode == 0
    assert time.monotonic() - began < 30
    await world.daemon.start()
    started = await _starts(world)
    ballast.unlink()
    if not started:
        await world.daemon.start()
        await world.daemon.wait_until_ready()
    world.change()
    payload = world.repository.push("Change")
    live = await _taken(world, payload, str(uuid.uuid4()))
    await finishes(world, live)
    check_world(world, docker_engine.api())


async def test_pushes_wait_or_are_refused_while_another_process_locks_the_database(
    make_world: MakeWorld, docker_engine: Engine
) -> None:
    world = await make_world()
    first = await world.ended(await world.push())
    await finishes(world, first)
    load = Load(world.daemon.public_url, rest=REST)
    world.change()
    payload, guid = world.repository.push("Change"), str(uuid.uuid4())
    async with load.running(WHO):
        with closing(sqlite3.connect(database_of(world), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = await deliver(world.daemon.url, world.daemon.secret, payload, guid)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
            assert await serving(world) == first.commit
            other.execute("ROLLBACK")
        live = await _taken(world, payload, guid)
        await finishes(world, live)
    check_clients(load)
    check_world(world, docker_engine.api())


async def _starts(world: World) -> bool:
    """Whether the daemon starts. If it cannot, it must exit with the code that makes systemd start it again."""
    try:
        await world.daemon.wait_until_ready()
    except Unavailable:
        assert world.daemon.process is not None
        assert world.daemon.process.returncode == 1
        return False
    return True


async def _taken(world: World, payload: Mapping[str, Any], guid: str) -> DeployAnswer:
    """Redeliver the same push until it is accepted; return its deploy once it is live."""
    answer = await deliver(world.daemon.url, world.daemon.secret, payload, guid)
    assert answer.status_code == 202, answer.text
    live = await world.ended(await world.came_of(guid))
    assert live.status is Status.LIVE, live.reason
    return live
