"""A scheduler with a real store, real git and the real pipeline on a real repository; only builder and target are fakes."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from deployd.config.app import App
from deployd.config.daemon import Git
from deployd.config.file import parse
from deployd.domain import Delivery, Deploy, Status, Trigger, Wanted
from deployd.events import Events
from deployd.logs.logs import Logs
from deployd.pipeline import Parts, Pipeline
from deployd.ports import Gate
from deployd.scheduler import Scheduler
from deployd.source.source import GitSource
from deployd.store.database import Database
from deployd.store.store import Store
from tests.desk import MAIN, FakeBuilder, FakeTarget
from tests.source.repositories import Repository

_GUIDS = count(1)


class _Source(GitSource):
    """Tells when the poll at the start has had its answers."""

    def __init__(self, config: Git, directory: Path) -> None:
        super().__init__(config, directory, (0.01,))
        self.answered = asyncio.Semaphore(0)

    async def heads(self, app: App) -> Mapping[str, str]:
        found = await super().heads(app)
        self.answered.release()
        return found


class Works:
    """What a test pushes to, and what becomes of it."""

    def __init__(
        self,
        directory: Path,
        repository: Repository,
        store: Store,
        events: Events,
        builder: FakeBuilder,
        apps: Sequence[dict[str, Any]],
    ) -> None:
        named = [
            {"name": "iris", "repo": str(repository.path), "gateway": {"listen": 8000 + at}}
            | ({} if "tag" in app else {"branch": "main"})
            | app
            for at, app in enumerate(apps)
        ]
        self.config = parse(
            {"app": named, "git": {"allow_file": True, "poll_every": "0s"}, "builder": {"concurrency": 1}}
        )
        self.repository, self.store, self.events = repository, store, events
        self.builder, self.target = builder, FakeTarget()
        self.gates: list[Gate] = []
        self.logs = Logs(directory / "logs")
        self.source = _Source(self.config.git, directory / "git")
        targets = {"docker": self.target}
        parts = Parts(store, self.logs, self.source, self.builder, targets, lambda _app: self.gates)
        self.pipeline = Pipeline(parts, instance="test", builder=self.config.builder, registry=None, waits=(0.01, 0.01))
        self.scheduler = Scheduler(self.config, store, self.source, self.pipeline, targets)
        self._written = 0

    def commit(self, branch: str = "main") -> str:
        """A new commit at the tip of a branch, of which nobody is told."""
        self._written += 1
        files = {"Dockerfile": b"FROM scratch\n", "model": str(self._written).encode()}
        return self.repository.commit(files, branch=branch, subject=f"Change {self._written}")

    async def told(self, commit: str, *apps: str, ref: str = MAIN) -> Deploy:
        """The forge tells of a push; the (first) deploy that comes of it."""
        guid = str(next(_GUIDS))
        wanted = [Wanted(app, commit, ref, Trigger("push", guid)) for app in apps or ("iris",)]
        return (await self.scheduler.accept(Delivery("github", guid, "push"), wanted)).deploys[0]

    async def told_in_vain(self, commit: str, before: str, app: str = "iris", *, ref: str = MAIN) -> Deploy | None:
        """The forge tells of a push that the app declines, onto `before`; the deploy that comes of it all the same."""
        guid = str(next(_GUIDS))
        declined = Wanted(app, commit, ref, Trigger("push", guid), before=before, declined=True)
        deploys, _ = await self.scheduler.accept(Delivery("github", guid, "push"), [declined])
        return deploys[0] if deploys else None

    async def polled(self, app: str = "iris") -> bool:
        """The poll looks at one app now; whether it queued something."""
        configured, _ = self.scheduler.target_of(app)
        return await self.scheduler.heads.look(configured)

    async def becomes(self, deploy: Deploy | str, *statuses: Status) -> Deploy:
        """The deploy (`iris/2`) once it has one of the statuses."""
        app, _, number = (deploy if isinstance(deploy, str) else deploy.name).partition("/")
        async with asyncio.timeout(30):
            watch = self.events.watch(after=0)
            while True:
                now = await self.store.deploy(app, int(number))
                if now is not None and now.status in statuses:
                    return now
                await anext(watch)

    async def live(self, app: str = "iris") -> str | None:
        """The commit that an app serves."""
        state = await self.store.state(app)
        return state.live.commit if state.live is not None else None

    async def serves(self, commit: str, app: str = "iris") -> None:
        """Until an app serves that commit and nothing waits any more."""
        async with asyncio.timeout(30):
            watch = self.events.watch(after=0)
            while True:
                state = await self.store.state(app)
                if state.live is not None and state.live.commit == commit and not (state.queued or state.in_flight):
                    return
                await anext(watch)


@asynccontextmanager
async def works(directory: Path, *apps: dict[str, Any], builder: FakeBuilder | None = None) -> AsyncIterator[Works]:
    """Works that run for the length of the block; by default one app `iris` that follows main."""
    repository = Repository.create(directory / "acme" / "iris.git")
    events = Events()
    async with Database(directory / "deployd.db") as database:
        made = Works(directory, repository, Store(database, events), events, builder or FakeBuilder(), apps or ({},))
        async with made.source:
            task = asyncio.create_task(made.scheduler.serve())
            async with asyncio.timeout(30):
                for _ in made.config.app:
                    await made.source.answered.acquire()
            try:
                yield made
            finally:
                task.cancel()
                await asyncio.wait({task})
        assert task.cancelled(), task.exception()
