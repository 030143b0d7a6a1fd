"""A lane over a real store; pipeline, target and aftermath are scripted: each deploy goes as far as the test lets it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from deployd.aftermath import Aftermath, Began, ReturnTraffic
from deployd.backoff import Backoff
from deployd.config.app import App
from deployd.config.daemon import Config, Retention
from deployd.config.file import parse
from deployd.config.running import Running
from deployd.domain import Deploy, Health, Image
from deployd.errors import DeploydError, Unavailable
from deployd.events import Events
from deployd.goal import Trigger, Wanted
from deployd.lane import Lane
from deployd.passage import MayCutOver
from deployd.pipeline import Pipeline
from deployd.ports.log import Log
from deployd.ports.target import Changed, InFlight, Target, none_in_flight
from deployd.status import Status
from deployd.store.database import Database
from deployd.store.store import Store
from deployd.tasks import uninterrupted
from deployd.watch.requests import Baseline

A, B, C = "a" * 40, "b" * 40, "c" * 40
MAIN = "refs/heads/main"
Script = Callable[[Deploy], Awaitable[None]]


async def for_ever(_: Deploy) -> None:
    """The script of a deploy that only a cancellation ends."""
    await asyncio.Event().wait()


def failing(*errors: DeploydError) -> Script:
    """The script of a deploy that fails with each of the errors in turn, and then goes live."""
    left = list(errors)

    async def fail(_: Deploy) -> None:
        if left:
            raise left.pop(0)

    return fail


class Held:
    """The script of a deploy that goes live once the test lets it."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()

    async def __call__(self, deploy: Deploy) -> None:
        await self.go_on.wait()


class Cleaning:
    """The script of a deploy that goes on until it is stopped, and cleans up until the test lets it end."""

    def __init__(self) -> None:
        self.begun, self.let_end = asyncio.Event(), asyncio.Event()

    async def __call__(self, deploy: Deploy) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.begun.set()
            await self.let_end.wait()


class ScriptedPipeline(Pipeline):
    """Does for each deploy what `scripts` says of its commit; without a script it goes live at once."""

    def __init__(self, store: Store, world: "World") -> None:
        self.store = store
        self.world = world
        self.scripts: dict[str, Script] = {}
        self.began: asyncio.Queue[Deploy] = asyncio.Queue()
        self.running: set[str] = set()

    async def run(self, app: App, deploy: Deploy, may_cut_over: MayCutOver) -> None:
        assert app.name not in self.running, "two deploys of one app at once"
        self.running.add(app.name)
        try:
            await self.store.advance(deploy, Status.BUILDING)
            self.began.put_nowait(deploy)
            if (script := self.scripts.get(deploy.commit)) is not None:
                await script(deploy)
            if not await may_cut_over():
                raise asyncio.CancelledError
            await uninterrupted(self.go_live(deploy, watched=app.watch is not None))
        finally:
            self.running.remove(app.name)

    async def go_live(self, deploy: Deploy, *, watched: bool = False) -> None:
        """What is left of the way, in one go."""
        for status in (Status.CHECKING, Status.ROLLING_OUT):
            await self.store.advance(deploy, status)
        await self.store.advance(deploy, Status.LIVE, watched=watched)
        self.world.numbers[deploy.app] = deploy.number


class ScriptedAftermath(Aftermath):
    """Notes which releases it followed, and for which apps it pruned."""

    def __init__(self) -> None:
        self.followed: asyncio.Queue[int] = asyncio.Queue()
        self.pruned: asyncio.Queue[str] = asyncio.Queue()
        self.in_flight: InFlight = none_in_flight
        self.watched: asyncio.Queue[int] = asyncio.Queue()
        self.verdicts: asyncio.Queue[str] = asyncio.Queue()  # a test puts them in: an empty one is good

    async def watch(
        self,
        app: App,
        live: Deploy,
        in_flight: InFlight,
        baseline: Baseline,
        began: Began,
        return_traffic: ReturnTraffic,
    ) -> None:
        self.watched.put_nowait(live.number)
        if reason := await self.verdicts.get():
            await return_traffic(reason, ())

    async def follow(self, app: App, deploy: Deploy, retention: Retention, in_flight: InFlight) -> None:
        self.in_flight = in_flight
        self.followed.put_nowait(deploy.number)

    async def prune(self, app: App, retention: Retention, log: Log | None = None) -> None:
        self.pruned.put_nowait(app.name)

    async def remove_images(self, app: str) -> None:
        self.pruned.put_nowait(app)


class World:
    """What serves, as a target would say."""

    def __init__(self) -> None:
        self.numbers: dict[str, int | None] = {}  # by app
        self.restored: list[int] = []
        self.returning = asyncio.Event()
        self.removed: list[str] = []
        self.trouble: list[DeploydError] = []  # what the next questions are answered with
        self.refused: list[DeploydError] = []  # what the next restores end with
        self.swept = asyncio.Event()
        self.made_anew = False  # what a restore says that it did
        self.well = Health()  # how the live release is while it serves
        self.lost: set[str] = set()  # the tags of images that are gone
        self.compared: asyncio.Queue[int] = asyncio.Queue()
        self.restoring = asyncio.Event()
        self.slow: asyncio.Event | None = None  # where given, a restore waits for it

    @property
    def number(self) -> int | None:
        """The deploy that serves for iris."""
        return self.numbers.get("iris")

    @number.setter
    def number(self, number: int | None) -> None:
        self.numbers["iris"] = number

    async def serving(self, app: App) -> int | None:
        if self.trouble:
            raise self.trouble.pop(0)
        return self.numbers.get(app.name)

    async def health(self, app: App, deploy: Deploy) -> Health:
        if self.trouble:
            raise self.trouble.pop(0)
        self.compared.put_nowait(deploy.number)
        if self.numbers.get(app.name) != deploy.number:
            return Health("down", "its container was removed")
        return self.well

    async def has(self, image: Image) -> bool:
        return image.tag not in self.lost

    async def watch(self, changed: Changed) -> None:
        await asyncio.Event().wait()

    async def restore(self, app: App, deploy: Deploy) -> bool:
        self.restoring.set()
        if self.slow is not None:
            await self.slow.wait()
        if self.refused:
            raise self.refused.pop(0)
        self.restored.append(deploy.number)
        self.numbers[app.name] = deploy.number
        return self.made_anew

    async def return_traffic(self, app: App, deploy: Deploy) -> None:
        self.returning.set()
        if self.slow is not None:
            await self.slow.wait()
        if self.refused:
            raise self.refused.pop(0)
        self.numbers[app.name] = deploy.number

    async def sweep(self, app: App, keep: int | None, log: Log) -> None:
        assert keep is None
        if self.trouble:
            raise self.trouble.pop(0)
        self.swept.set()

    async def remove(self, app: str) -> None:
        self.removed.append(app)


class Bench:
    """A store, a lane of the app `iris`, and what is around it."""

    def __init__(self, store: Store, events: Events, config: Config) -> None:
        self.store, self.events = store, events
        self.world, self.aftermath = World(), ScriptedAftermath()
        self.pipeline = ScriptedPipeline(store, self.world)
        self.running = Running(config)
        target = cast("Target", self.world)
        self.lane = Lane(config.app[0], self.running, store, self.pipeline, self.aftermath, lambda _: target)

    async def queued(self, commit: str) -> Deploy:
        """A deploy that waits in the store, of which the lane was not told."""
        return await self.store.queue(Wanted("iris", commit, MAIN, Trigger("push", "guid")))

    async def push(self, commit: str) -> Deploy:
        """A deploy that waits, of which the lane was told."""
        deploy = await self.queued(commit)
        self.lane.submit(deploy)
        return deploy

    async def begins(self, commit: str) -> Deploy:
        """The same, once the pipeline runs it."""
        deploy = await self.push(commit)
        async with asyncio.timeout(20):
            while (await self.pipeline.began.get()).number != deploy.number:
                pass
        return deploy

    async def left_at(self, *statuses: Status) -> Deploy:
        """A deploy that went through `statuses` in an earlier life of the daemon."""
        deploy = await self.queued(A)
        for status in statuses:
            deploy = await self.store.advance(deploy, status)
        return deploy

    async def pause(self, *, paused: bool) -> None:
        """As the scheduler does it."""
        await self.store.pause("iris", paused=paused)
        self.lane.pause(paused=paused)

    async def becomes(self, deploy: Deploy | str, *statuses: Status) -> Deploy:
        """The deploy (`iris/2`) once it has one of the statuses."""
        return await becomes(self.store, self.events, deploy, *statuses)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """The lane serves for the length of the block, and ends by nothing but its cancellation."""
        task = asyncio.create_task(self.lane.serve())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
        assert task.cancelled(), task.exception()


async def becomes(store: Store, events: Events, deploy: Deploy | str, *statuses: Status) -> Deploy:
    """The deploy (`iris/2`) once it has one of the statuses."""
    app, _, number = (deploy if isinstance(deploy, str) else deploy.name).partition("/")
    async with asyncio.timeout(20):
        watch = events.watch(after=0)
        while True:
            now = await store.deploy(app, int(number))
            if now is not None and now.status in statuses:
                return now
            await anext(watch)


def away(number: int = 1) -> list[DeploydError]:
    """So many answers of an engine that is away."""
    return [Unavailable("the engine is away") for _ in range(number)]


@asynccontextmanager
async def a_bench(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    """A bench for the length of the block; what is away is asked again at once."""
    monkeypatch.setattr("deployd.lane.Backoff", partial(Backoff, (0.01,)))
    monkeypatch.setattr("deployd.keeper._PAUSES", (0.01,))
    app = {"name": "iris", "repo": "https://example.com/acme/iris.git", "branch": "main", "gateway": {"listen": 8000}}
    events = Events()
    async with Database(directory / "db") as database:
        yield Bench(Store(database, events), events, parse({"app": [app]}))
