"""What is not ours is never touched: a person's containers and images beside those of one, or two, real daemons."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from deployd.api.answers import DeployAnswer
from deployd.bringup import images
from deployd.bringup.api import EngineApi
from deployd.bringup.daemon import DemoDaemon
from deployd.bringup.engine import Engine
from deployd.client import Client
from deployd.status import Status
from deployd.store.schema import MIGRATIONS
from tests.e2e.world import CONFIG, World, passing_world

pytestmark = [pytest.mark.engine, pytest.mark.slow]


class Person:
    """What a person made of a deployed image, all of it with deployd's labels; it goes at the end."""

    def __init__(self, api: EngineApi) -> None:
        self.api = api
        self.containers: list[str] = []
        self.images: list[str] = []

    def starts(self, name: str, image: str) -> None:
        self.api.post(f"/containers/create?name={name}", {"Image": image, "Volumes": {"/data": {}}})
        self.api.post(f"/containers/{name}/start")
        self.containers.append(name)

    def commits(self, container: str, name: str) -> None:
        """`docker commit`: the image has all labels of the container, too."""
        self.api.post(f"/commit?container={container}&repo={name}&tag=latest", {})
        self.images.append(f"{name}:latest")

    def tags(self, image: str, name: str) -> None:
        self.api.post(f"/images/{image}/tag?repo={name}&tag=latest")
        self.images.append(f"{name}:latest")

    def builds_on(self, image: str, name: str) -> None:
        images.build(self.api, f"{name}:latest", f"FROM {image}\nRUN echo mine > /mine\n", {})
        self.images.append(f"{name}:latest")

    def has_everything(self) -> bool:
        running = [self.api.get(f"/containers/{name}/json") for name in self.containers]
        assert all(found is not None and found["State"]["Running"] and found["Mounts"] for found in running), running
        missing = [name for name in self.images if self.api.get(f"/images/{name}/json") is None]
        assert not missing, missing
        return True

    def leaves(self) -> None:
        for name in self.containers:
            self.api.delete(f"/containers/{name}?force=1&v=1")
        for name in self.images:
            self.api.delete(f"/images/{name}?force=1")


@pytest.fixture
def person(docker_engine: Engine) -> Iterator[Person]:
    made = Person(docker_engine.api(timeout=120))
    yield made
    made.leaves()


async def _live(world: World) -> DeployAnswer:
    live = await world.ended(await world.push())
    assert live.status is Status.LIVE, live.reason
    await world.says(live, "prune took")
    return live


async def test_a_person_keeps_what_they_made_of_a_deployed_image(
    tmp_path: Path, docker_engine: Engine, base_images: object, person: Person
) -> None:
    async with passing_world(tmp_path, docker_engine, CONFIG + "[retention]\nimages = 1\n") as world:
        try:
            first = await _live(world)
            assert first.image is not None
            mine = f"mine-{world.daemon.instance}"
            person.starts(f"{mine}-a", first.image)
            second = await _live(world)
            assert second.image is not None
            container = world.daemon.container(second.number)
            person.commits(container, f"{mine}-commit")
            person.starts(f"{mine}-b", f"{mine}-commit:latest")
            person.tags(second.image, f"{mine}-tag")
            person.builds_on(second.image, f"{mine}-child")
            for _ in range(2):
                await _live(world)
            person.starts(container, f"{mine}-commit:latest")  # the name is free again: it is not ours for that
            last = await _live(world)
            await _restarted(world)
            assert person.has_everything()
            assert person.api.get(f"/images/{first.image}/json") is not None  # a container uses it
            assert person.api.get(f"/images/{second.image}/json") is None
            log = world.daemon.log.read_text()
            assert f"Removed the name {second.image}; the image stays: it is also called {mine}-tag:latest" in log
            assert f"Removed the container {world.daemon.container(first.number)}" in log
            planned = {each.name: each for each in (await world.client.prune(dry_run=True)).pruned if each.name}
            assert (planned[first.image].gone, planned[first.image].note) == (
                False,
                f"the container {mine}-a uses it",
            )
            assert first.image in {each.name for each in (await world.client.prune(world.app)).pruned}
            await _removed(world)
            assert person.has_everything()
            assert last.image is not None
            assert person.api.get(f"/images/{last.image}/json") is None
        finally:
            person.leaves()


async def _restarted(world: World) -> None:
    await world.daemon.stop()
    await world.daemon.start()
    await world.daemon.wait_until_ready()


async def _removed(world: World) -> None:
    """The app leaves the config, and then the engine."""
    config = world.daemon.directory / "config.toml"
    text = config.read_text()
    config.write_text(text[: text.index("[[app]]")] + "[retention]\nimages = 1\n")
    await world.client.reload()
    await world.client.remove(world.app)


async def test_two_daemons_on_one_engine_deploy_an_app_of_the_same_name(
    world: World, tmp_path: Path, docker_engine: Engine
) -> None:
    directory = tmp_path / "staging"
    directory.mkdir()
    staging = DemoDaemon.prepare(directory, world.repository.remote, CONFIG, app=world.app)
    try:
        first = await _live(world)
        async with staging.running(), Client(staging.api) as client:
            deploy = await client.deploy(world.app)
            async with asyncio.timeout(120):
                async for now in client.follow(world.app, deploy.number):
                    deploy = now
            assert (deploy.status, deploy.reason) == (Status.LIVE, "")
            assert deploy.image != first.image
            await _live(world)
            api = docker_engine.api()
            for daemon, number in ((world.daemon, 2), (staging, deploy.number)):
                assert api.get(f"/containers/{daemon.container(number)}/json")["State"]["Running"]
        await _removed(world)
        assert api.get(f"/containers/{staging.container(deploy.number)}/json")["State"]["Running"]
        assert api.get(f"/images/{deploy.image}/json") is not None
    finally:
        staging.remove_everything(docker_engine.api())


async def test_a_release_under_the_names_of_the_former_deployd_is_taken_over(
    tmp_path: Path, docker_engine: Engine, base_images: object
) -> None:
    """It serves on, can be rolled back to, and goes in the end."""
    async with passing_world(tmp_path, docker_engine, CONFIG + "[retention]\nimages = 3\n") as world:
        await _taken_over(world, docker_engine)


async def _taken_over(world: World, docker_engine: Engine) -> None:
    first = await _live(world)
    second = await _live(world)
    await world.daemon.stop()
    _rename_as_the_former_deployd(world, docker_engine.api(), [first, second])
    await world.daemon.start()
    await world.daemon.wait_until_ready()
    api = docker_engine.api()
    former = [f"/images/deployd/{world.app}:{deploy.commit}/json" for deploy in (first, second)]
    assert api.get(f"/containers/deployd-{world.app}-2/json")["State"]["Running"]
    third = await _live(world)
    assert api.get(f"/containers/deployd-{world.app}-2/json") is None
    back = await world.ended(await world.client.rollback(world.app, 1))
    assert (back.status, back.commit) == (Status.LIVE, first.commit)
    assert api.get(f"/containers/{world.daemon.container(4)}/json")["State"]["Running"]
    assert [api.get(name) is not None for name in former] == [True, True]
    for _ in range(4):
        await _live(world)
    assert third.image is not None
    assert [api.get(name) for name in former] == [None, None]


def _rename_as_the_former_deployd(world: World, api: EngineApi, deploys: list[DeployAnswer]) -> None:
    """Leave the engine and the database as a deployd does whose names have no instance, and which records nothing but deploys."""
    app, database = world.app, world.daemon.directory / "state" / "deployd.db"
    api.post(f"/containers/{world.daemon.container(2)}/rename?name=deployd-{app}-2")
    _take_back(database, 5)
    with closing(sqlite3.connect(database)) as connection:
        for deploy in deploys:
            api.post(f"/images/{deploy.image}/tag?repo=deployd/{app}&tag={deploy.commit}")
            api.delete(f"/images/{deploy.image}")
            connection.execute(
                "UPDATE deploys SET image = json_set(image, '$.name', ?, '$.tag', ?) WHERE number = ?",
                (f"deployd/{app}", deploy.commit, deploy.number),
            )
        connection.commit()


def _take_back(database: Path, version: int) -> None:
    """Make of the database one of a former version, with all rows that it can hold."""
    former = database.with_suffix(".former")
    with closing(sqlite3.connect(former, isolation_level=None)) as connection:
        for statements in MIGRATIONS[:version]:
            connection.executescript(statements)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("ATTACH ? AS present", (str(database),))
        tables = "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        for (table,) in connection.execute(tables).fetchall():
            known = {row[1] for row in connection.execute(f"PRAGMA present.table_info({table})")}
            held = [row[1] for row in connection.execute(f"PRAGMA main.table_info({table})") if row[1] in known]
            columns = ", ".join(held)
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM present.{table}")  # noqa: S608
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    former.replace(database)


async def test_a_rebuild_and_its_bases_are_told(world: World) -> None:
    first = await _live(world)
    deploy = await world.ended(await world.client.deploy(world.app, first.commit, rebuild=True))
    assert (deploy.status, deploy.rebuild, deploy.commit) == (Status.LIVE, True, first.commit)
    assert deploy.image != first.image
    assert [base.name for base in deploy.bases] == ["python:3.11-slim-bookworm"]
    assert "Using cache" not in await world.log(deploy)
    described = await world.client.describe(world.app)
    assert described.app.live is not None
    assert described.app.live.bases == deploy.bases
