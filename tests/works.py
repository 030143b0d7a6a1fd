"""A scheduler with a real store, real git and the real pipeline on a real repository; only builder and target are fakes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from deployd.aftermath import Aftermath
from deployd.config.app import App
from deployd.config.daemon import Git
from deployd.config.file import parse
from deployd.config.running import Running
from deployd.delivery import Delivery, Followed, Outcome, Push
from deployd.domain import Deploy
from deployd.events import Events
from deployd.goal import Goal, ModelVersion
from deployd.logs.logs import Logs
from deployd.passage import Parts
from deployd.pipeline import Pipeline
from deployd.ports.gate import Gate
from deployd.ports.models import Models
from deployd.scheduler import Scheduler
from deployd.source.source import GitSource
from deployd.status import Status
from deployd.store.database import Database
from deployd.store.store import Store
from deployd.watch.stage import Watch
from tests.adapters import FakeBuilder, FakeTarget
from tests.desk import MAIN
from tests.fakes import FakeChecks, FakeModels
from tests.source.repositories import Repository

_GUIDS = count(1)

MakeModels = Callable[[Running, Store], Models]


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
        models: MakeModels | None = None,
    ) -> None:
        named = [
            {"name": "iris", "repo": str(repository.path), "gateway": {"listen": 8000 + at}}
            | ({} if "tag" in app else {"branch": "main"})
            | app
            for at, app in enumerate(apps)
        ]
        self.config = parse(
            {
                "app": named,
                "git": {"allow_file": True, "poll_every": "0s"},
                "builder": {"concurrency": 1},
                "github": {"token": "env:GITHUB_TOKEN"},
            }
        )
        self.repository, self.store, self.events = repository, store, events
        self.builder, self.target = builder, FakeTarget()
        self.gates: list[Gate] = []
        self.logs = Logs(directory / "logs")
        self.source = _Source(self.config.git, directory / "git")
        targets, self.registry = {"docker": self.target}, FakeModels()
        self.running = Running(self.config)
        made = models(self.running, store) if models is not None else self.registry
        parts = Parts(store, self.logs, self.source, self.builder, targets, lambda _app: self.gates, made)
        self.pipeline = Pipeline(parts, instance="test", builder=self.config.builder, registry=None)
        watch = Watch(targets, self.source, parts.gates)
        self.aftermath = Aftermath(store, self.logs, targets, self.builder, self.config.builder.cache_bytes, watch)
        self.checks = FakeChecks()
        self.scheduler = Scheduler(
            running=self.running,
            store=store,
            source=self.source,
            pipeline=self.pipeline,
            aftermath=self.aftermath,
            targets=targets,
            waits=(0.01, 0.01),
            checks=self.checks,
            models=made,
        )
        self._written = 0
        self._model = b""

    def commit(
        self,
        branch: str = "main",
        *,
        subject: str = "",
        model: bytes | None = None,
        more: Mapping[str, bytes] | None = None,
    ) -> str:
        """A new commit at the tip of a branch, of which nobody is told. With `more` files the others stay as they are, unless
        `model` says what stands in that file."""
        self._written += 1
        if model is not None:
            self._model = model
        elif more is None:
            self._model = str(self._written).encode()
        files = {"Dockerfile": b"FROM scratch\n", "model": self._model, **(more or {})}
        return self.repository.commit(files, branch=branch, subject=subject or f"Change {self._written}")

    def head(self, branch: str = "main") -> str:
        """The commit at the tip of a branch."""
        tip = self.repository.tip(branch)
        assert tip is not None
        return tip

    def move(self, commit: str, branch: str = "main") -> None:
        """Force a branch to a commit."""
        self.repository.point(branch, commit)

    def delete(self, branch: str = "main") -> None:
        """Take a branch away."""
        self.repository.git("update-ref", "-d", f"refs/heads/{branch}")

    def forget_everything_but_the_head(self) -> None:
        """A forced push of a commit without a parent; the commits before it are collected, at the remote and in the mirror."""
        orphan = self.repository.commit({"Dockerfile": b"FROM scratch\n", "docs/index.md": b"x"}, branch=None)
        self.move(orphan)
        self.repository.git("reflog", "expire", "--expire=now", "--all")
        self.repository.git("gc", "--quiet", "--prune=now")
        for mirror in self.source._mirrors.values():
            mirror.suspect()

    async def told(self, commit: str, *apps: str, ref: str = MAIN, guid: str | None = None) -> Outcome:
        """The forge tells of a push; what came of it for the (first) app, once that was looked at."""
        guid = guid or str(next(_GUIDS))
        push = Push("example.com/acme/iris", ref, commit)
        await self.scheduler.accept(Delivery("github", guid, "push"), [Followed(push, apps or ("iris",))])
        return await self.answered(guid)

    async def deployed(self, commit: str, *apps: str, ref: str = MAIN) -> Deploy:
        """The forge tells of a push; the deploy that came of it for the (first) app."""
        app = apps[0] if apps else "iris"
        outcome = await self.told(commit, *apps, ref=ref)
        assert outcome.number is not None, outcome
        deploy = await self.store.deploy(app, outcome.number)
        assert deploy is not None
        return deploy

    async def moved(self, *apps: str, guid: str | None = None) -> str:
        """MLflow tells that an alias has moved; the GUID of its delivery."""
        guid = guid or str(next(_GUIDS))
        await self.scheduler.accept(
            Delivery("mlflow", guid, "webhook"), [Followed(Push("iris", "@champion", ""), apps or ("iris",))]
        )
        return guid

    async def answered(self, guid: str) -> Outcome:
        """What came of a delivery for its first app, once no app of it owes a look any more."""
        async with asyncio.timeout(30):
            watch = self.events.watch(after=0)
            while True:
                received = await self.store.delivery(guid)
                if received is not None and all(one.looked_at is not None for one in received.outcomes):
                    return received.outcomes[0]
                await anext(watch)

    async def polled(self, app: str = "iris") -> bool:
        """A look is taken now, for no other reason than that it is time; whether it queued something."""
        before = await self.store.deploys(app, 1)
        repository = next(iter(self.scheduler.looks._repositories.values()))
        await repository.look(final=True)
        return await self.store.deploys(app, 1) != before

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

    async def serves(self, commit: str, app: str = "iris", model: ModelVersion | None = None) -> Deploy:
        """Until an app serves that commit, with that version of its model, and nothing waits any more."""
        async with asyncio.timeout(30):
            watch = self.events.watch(after=0)
            while True:
                state = await self.store.state(app)
                live = state.live
                if live is not None and live.goal == Goal(commit, model) and not (state.queued or state.in_flight):
                    return live
                await anext(watch)


@asynccontextmanager
async def works(
    directory: Path, *apps: dict[str, Any], builder: FakeBuilder | None = None, models: MakeModels | None = None
) -> AsyncIterator[Works]:
    """Works that run for the length of the block; by default one app `iris` that follows main. `models` makes what asks the
    registry of models, instead of the fake in `registry`."""
    repository = Repository.create(directory / "acme" / "iris.git")
    events = Events()
    async with Database(directory / "deployd.db") as database:
        made = Works(
            directory, repository, Store(database, events), events, builder or FakeBuilder(), apps or ({},), models
        )
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
