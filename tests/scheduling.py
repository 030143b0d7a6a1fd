"""A scheduler over a real store and real lanes; deploys go live at once unless a test holds them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import cast

from deployd.config.daemon import Config
from deployd.config.file import parse
from deployd.config.running import Running
from deployd.delivery import Delivery, Followed, Push
from deployd.domain import Deploy, Image
from deployd.events import Events
from deployd.ports.target import Target
from deployd.scheduler import Scheduler
from deployd.status import Status
from deployd.store.database import Database
from deployd.store.store import Store
from tests.desk import MAIN, REPO, settings
from tests.fakes import FakeSource
from tests.lanes import ScriptedAftermath, ScriptedPipeline, World, becomes

_GUIDS = count(1)


def configured(*names: str) -> Config:
    """The config with these apps, all of one repository."""
    return parse(settings(*names))


class Desk:
    """A scheduler and what it works with: the apps iris and rose of one repository."""

    def __init__(self, store: Store, events: Events) -> None:
        self.store, self.events = store, events
        self.running = Running(configured("iris", "rose"))
        self.source = FakeSource({REPO: {}})
        self.world = World()
        self.pipeline = ScriptedPipeline(store, self.world)
        targets = {"docker": cast("Target", self.world)}
        aftermath = ScriptedAftermath()
        self.scheduler = Scheduler(self.running, store, self.source, self.pipeline, aftermath, targets)

    async def becomes(self, deploy: Deploy | str, *statuses: Status) -> Deploy:
        """The deploy (`iris/2`) once it has one of the statuses."""
        return await becomes(self.store, self.events, deploy, *statuses)

    async def pushed(self, commit: str, *apps: str) -> list[str]:
        """The remote has a new head, and the forge tells of it; the names that are answered."""
        self.source.remotes[REPO][MAIN] = commit
        return await self.scheduler.accept(*delivery_of(commit, *apps))

    async def deployed(self, commit: str) -> Deploy:
        """A deploy by hand of a new head, which is live."""
        self.source.remotes[REPO][MAIN] = commit
        deploy = await self.becomes(await self.scheduler.deploy("iris", commit, "ada"), Status.LIVE)
        await self.store.record_image(deploy, Image("deployd/iris", commit, f"sha256:{commit}"))
        return deploy

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Scheduler]:
        """The scheduler serves for the length of the block, and ends by nothing but its cancellation."""
        task = asyncio.create_task(self.scheduler.serve())
        async with asyncio.timeout(20):
            await self.source.asked.get()  # the first look: all lanes stand
        try:
            yield self.scheduler
        finally:
            task.cancel()
            await asyncio.wait({task})
        assert task.cancelled(), task.exception()


def delivery_of(commit: str, *apps: str) -> tuple[Delivery, list[Followed]]:
    """A delivery that tells of a push to main, and the apps that follow it."""
    push = Push("example.com/acme/iris", MAIN, commit)
    return Delivery("github", str(next(_GUIDS)), "push"), [Followed(push, apps or ("iris",))]


@asynccontextmanager
async def a_desk(directory: Path) -> AsyncIterator[Desk]:
    """A desk for the length of the block."""
    events = Events()
    async with Database(directory / "db") as database:
        yield Desk(Store(database, events), events)
