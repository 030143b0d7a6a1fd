"""Whatever somebody does by hand to a Deployment of deployd: the keeper notices it, says it, and the release serves again."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployd.config.app import App
from deployd.domain import Deploy, Health, Image
from deployd.events import Events
from deployd.goal import Trigger, Wanted
from deployd.keeper import Keeper
from deployd.status import Status
from deployd.store.database import Database
from deployd.store.store import Store
from tests.targets.kubernetes.node_port import NODE_PORT, answering, page
from tests.targets.kubernetes.world import RecordedProgress, World

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]


async def until(true: Callable[[], bool]) -> None:
    """Until the condition holds; a test's time limit is the deadline."""
    while True:
        if true():
            return
        await asyncio.sleep(0.05)


@dataclass
class Kept:
    """A release of an app, which a keeper keeps serving."""

    world: World
    store: Store
    keeper: Keeper
    app: App

    async def live(self, image: Image, trigger: Trigger) -> Deploy:
        """A deploy that goes live; the keeper steps back meanwhile, as in a lane."""
        deploy = await self.store.queue(Wanted("iris", image.tag, "refs/heads/main", trigger, target="kubernetes"))
        await self.keeper.step_back()
        progress = RecordedProgress(deploy)
        await self.world.target.roll_out(self.app, deploy, image, progress)
        for status in (Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT, Status.LIVE):
            deploy = await self.store.advance(deploy, status)
        self.keeper.resume()
        await self.well(deploy.number)
        assert progress.image is not None
        await self.store.record_image(deploy, progress.image)
        return deploy

    async def well(self, number: int) -> None:
        """Until the keeper has seen that it serves as it should."""
        await until(lambda: self.keeper.health(number) == Health())

    # What a person may do.

    def delete(self) -> None:
        self.world.kubectl("delete", "deployment", "iris")

    def delete_service(self) -> None:
        self.world.kubectl("delete", "service", "iris")

    def edit_service(self) -> None:
        self.world.kubectl("patch", "service", "iris", "--patch", '{"spec": {"selector": {"app": "other"}}}')

    def edit(self) -> None:
        self.world.kubectl("set", "env", "deployment/iris", "MODE=slow")

    def take_away(self) -> None:
        self.world.kubectl("set", "env", "deployment/iris", "MODE-")

    def scale_to_nothing(self) -> None:
        self.world.kubectl("scale", "deployment", "iris", "--replicas=0")


@pytest.fixture
async def kept(world: World, tmp_path: Path) -> AsyncIterator[Kept]:
    app = world.app(**NODE_PORT, env={"MODE": "fast"})
    world.target.expect([app])
    async with Database(tmp_path / "db") as database:
        store = Store(database, Events())
        keeper = Keeper(store, lambda _: world.target, lambda: app, lambda: 5.0)
        made = Kept(world, store, keeper, app)
        async with _running(made):
            await made.live(world.image("one"), Trigger("push"))
            yield made


@asynccontextmanager
async def _running(kept: Kept) -> AsyncIterator[None]:
    """As the daemon does it."""
    watch = kept.world.target.watch(lambda _app: kept.keeper.wake())
    tasks = [asyncio.create_task(watch), asyncio.create_task(kept.keeper.serve())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks), tasks


HARMS: list[tuple[Callable[[Kept], None], str]] = [
    (Kept.delete, "/iris was deleted"),
    (Kept.delete_service, "its Service was deleted"),
    (Kept.edit_service, "somebody else changed its Service"),
    (Kept.edit, "somebody else changed"),
    (Kept.take_away, "somebody else changed"),
    (Kept.scale_to_nothing, "somebody scaled its Deployment to 0"),
]


async def test_whatever_is_done_by_hand_is_noticed_told_and_undone(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for harm, words in HARMS:
        caplog.clear()
        async with asyncio.timeout(120):
            harm(kept)
            await until(lambda: words in caplog.text)  # noqa: B023 - it is called before the next harm
            await kept.well(1)
            await answering(kept.world)
        assert page(kept.world) == "one"
        assert "MODE=fast" in kept.world.kubectl("set", "env", "deployment/iris", "--list")


async def test_an_image_that_somebody_sets_is_told_and_stays_until_the_next_deploy(kept: Kept) -> None:
    before, other = kept.world.running_image(), kept.world.image("by hand")
    name = f"{other.name}:{other.tag}"
    kept.world.kubectl("set", "image", "deployment/iris", f"iris={name}")
    async with asyncio.timeout(120):
        await until(lambda: (health := kept.keeper.health(1)) is not None and "cannot be restored" in health.detail)
    health = kept.keeper.health(1)
    assert health is not None
    assert (health.state, f"somebody else set the image of its Deployment to {name}" in health.detail) == ("down", True)
    assert kept.world.running_image() == name
    deploy = await kept.live(kept.world.image("two"), Trigger("push"))
    assert (deploy.number, kept.world.running_image() not in {before, name}) == (2, True)


async def test_a_scale_by_deployd_and_a_restart_do_what_they_say(kept: Kept) -> None:
    await kept.world.target.scale(kept.app, 0)
    async with asyncio.timeout(60):
        await until(lambda: kept.world.deployment()["status"].get("replicas", 0) == 0)
    kept.keeper.wake()
    await kept.well(1)
    assert kept.world.deployment()["spec"]["replicas"] == 0
    await kept.world.target.scale(kept.app, 1)
    await kept.well(1)
    before = kept.world.deployment()["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
    live = (await kept.store.state("iris")).live
    assert live is not None
    assert live.image is not None
    await kept.live(live.image, Trigger("restart"))
    after = kept.world.deployment()["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
    assert int(after) == int(before) + 1
