"""What comes after the switch, over a real store and real logs; targets and builder note what they are asked."""

import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import cast

import pytest

from deployd.aftermath import Aftermath
from deployd.config.app import App
from deployd.config.daemon import Retention
from deployd.domain import Deploy, Image
from deployd.errors import RolloutFailed
from deployd.events import Events
from deployd.goal import Trigger, Wanted
from deployd.logs.logs import Logs
from deployd.ports.builder import Builder, Removal
from deployd.ports.log import Log
from deployd.ports.target import InFlight, Target, none_in_flight
from deployd.status import Status
from deployd.store.database import Database
from deployd.store.store import Store
from deployd.watch.stage import Watch
from tests.desk import REPO
from tests.fakes import FakeSource
from tests.lanes import A, B

RETENTION = Retention.model_validate({"images": 3, "image_bytes": "1GB", "logs": 5, "log_bytes": "100MB"})
CACHE_LIMIT = 10**7


class Place:
    """A target, or a builder, that notes in `said` what it is asked; `freed` bytes come of a clean-up of the cache."""

    def __init__(self, name: str, said: list[str]) -> None:
        self.name, self.said = name, said
        self.freed = 0
        self.broken = False
        self.in_flight: InFlight = none_in_flight

    async def sweep(
        self, app: App, keep: int | None, log: Log, in_flight: InFlight, *, standby: int | None = None
    ) -> None:
        if self.broken:
            raise RolloutFailed("the containers cannot be listed")
        self.in_flight = in_flight
        self.said.append(f"{self.name} sweeps {app.name} but {keep}")
        log.write("swept\n")

    async def remove(self, what: str | Image, *, dry_run: bool = False) -> Removal:
        self.said.append(f"{self.name} removes {what.full_name if isinstance(what, Image) else what}")
        return Removal(done=True)

    async def layers(self, image: Image) -> Mapping[str, int] | None:
        return {image.full_name: 10}

    async def trim(self, limit_bytes: int, *, dry_run: bool = False) -> int:
        self.said.append(f"{self.name} trims to {limit_bytes} bytes")
        return self.freed


class World:
    """An aftermath and all that it works with."""

    def __init__(self, directory: Path, store: Store) -> None:
        self.store, self.logs = store, Logs(directory / "logs")
        self.said: list[str] = []
        self.docker, self.kubernetes = Place("docker", self.said), Place("kubernetes", self.said)
        self.builder = Place("builder", self.said)
        self.watch = Watch({}, FakeSource(), lambda _: ())
        self.aftermath = self.over(docker=self.docker, kubernetes=self.kubernetes)

    def over(self, **targets: Place) -> Aftermath:
        """An aftermath that knows these targets."""
        known = {name: cast("Target", target) for name, target in targets.items()}
        return Aftermath(self.store, self.logs, known, cast("Builder", self.builder), CACHE_LIMIT, self.watch)

    async def released(self, target: str = "docker", commit: str = A) -> Deploy:
        """A deploy that is live now."""
        wanted = Wanted("iris", commit, "refs/heads/main", Trigger("push"), target=target)
        deploy = await self.store.queue(wanted)
        for status in (Status.BUILDING, Status.ROLLING_OUT, Status.LIVE):
            deploy = await self.store.advance(deploy, status)
        image = Image("deployd/here/iris", f"{commit}-{deploy.number}", f"sha256:{commit}")
        build = await self.store.begin_build(deploy, image.full_name, "")
        await self.store.end_build(deploy, build, image, None)
        return deploy

    async def log(self, deploy: Deploy) -> str:
        return b"".join([block async for block in self.logs.read(deploy.app, deploy.number)]).decode()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with Database(tmp_path / "db") as database:
        yield World(tmp_path, Store(database, Events()))


def _app(target: str = "docker") -> App:
    section: dict[str, object] = {"gateway": {"listen": 8000}} if target == "docker" else {"kubernetes": {}}
    return App.model_validate({"name": "iris", "repo": REPO, "branch": "main", "target": target, **section})


async def test_the_old_release_is_drained_and_then_old_images_are_pruned(world: World) -> None:
    deploy = await world.released()
    await world.aftermath.follow(_app(), deploy, RETENTION, lambda: 7)
    assert world.said == [
        "docker sweeps iris but 1",
        "builder trims to 10000000 bytes",
    ]
    assert world.docker.in_flight() == 7
    now = await world.store.deploy("iris", 1)
    assert now is not None
    assert [(step.name, step.status) for step in now.steps] == [("drain", "done"), ("prune", "done")]
    assert (await world.log(deploy)).startswith("==> drain\nswept\n<== drain took ")


async def test_a_drain_that_fails_is_recorded_and_nothing_is_pruned(world: World) -> None:
    deploy = await world.released()
    world.docker.broken = True
    with pytest.raises(RolloutFailed):
        await world.aftermath.follow(_app(), deploy, RETENTION, none_in_flight)
    now = await world.store.deploy("iris", 1)
    assert now is not None
    assert [(step.name, step.status) for step in now.steps] == [("drain", "failed")]
    assert world.said == []


async def test_each_image_that_is_removed_is_named_in_the_log_of_the_deploy(world: World) -> None:
    for commit in (A, B):
        await world.released(commit=commit)
    deploy = await world.released(commit="c" * 40)
    few = RETENTION.model_copy(update={"images": 2})
    await world.aftermath.follow(_app(), deploy, few, none_in_flight)
    assert f"builder removes deployd/here/iris:{A}-1" in world.said
    assert f"removed the image deployd/here/iris:{A}-1\n" in await world.log(deploy)


async def test_freed_bytes_are_written_to_the_log_of_the_deploy(world: World) -> None:
    world.builder.freed = 1_000_000
    deploy = await world.released()
    await world.aftermath.follow(_app(), deploy, RETENTION, none_in_flight)
    assert "freed 1.0 MB of build cache\n" in await world.log(deploy)


async def test_no_line_says_that_nothing_was_freed(world: World) -> None:
    world.builder.freed = 1_200
    deploy = await world.released()
    await world.aftermath.follow(_app(), deploy, RETENTION, none_in_flight)
    assert "freed 1.2 kB of build cache\n" in await world.log(deploy)


async def test_nothing_is_written_about_freed_bytes_when_nothing_was_freed(world: World) -> None:
    deploy = await world.released()
    await world.aftermath.follow(_app(), deploy, RETENTION, none_in_flight)
    assert "freed" not in await world.log(deploy)


async def test_bytes_freed_without_a_release_are_written_to_the_daemons_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.builder.freed = 1_000_000
    with caplog.at_level(logging.INFO):
        await world.aftermath.prune(_app(), RETENTION)
    assert "freed 1.0 MB of build cache" in caplog.text


async def test_an_app_whose_target_changed_goes_from_where_its_release_before_ran(world: World) -> None:
    await world.released("docker")
    deploy = await world.released("kubernetes")
    await world.aftermath.follow(_app("kubernetes"), deploy, RETENTION, none_in_flight)
    assert world.said[:2] == ["docker removes iris", "kubernetes sweeps iris but 2"]


async def test_a_former_target_is_left_though_the_clean_up_of_the_release_between_was_cut_short(world: World) -> None:
    await world.released("docker")
    await world.released("kubernetes", A)
    deploy = await world.released("kubernetes", B)
    await world.aftermath.follow(_app("kubernetes"), deploy, RETENTION, none_in_flight)
    assert world.said[0] == "docker removes iris"


async def test_an_app_that_goes_back_to_a_former_target_is_not_removed_there_under_the_deploy_to_come(
    world: World,
) -> None:
    await world.released("docker")
    deploy = await world.released("kubernetes")
    await world.aftermath.follow(_app("docker"), deploy, RETENTION, none_in_flight)
    assert "docker removes iris" not in world.said


async def test_a_former_target_that_this_daemon_does_not_reach_is_left_alone(world: World) -> None:
    await world.released("docker")
    deploy = await world.released("kubernetes")
    await world.over(kubernetes=world.kubernetes).follow(_app("kubernetes"), deploy, RETENTION, none_in_flight)
    assert world.said[0] == "kubernetes sweeps iris but 2"
