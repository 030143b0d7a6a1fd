"""A whole daemon in this process: real store, scheduler, pipeline, logs and HTTP; git, builder and target are fakes."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from starlette.types import Receive, Scope, Send

from deployd.aftermath import Aftermath
from deployd.api.app import create_app
from deployd.api.services import Services
from deployd.config.app import App
from deployd.config.daemon import SOCKET, Config
from deployd.config.file import parse
from deployd.config.running import Running
from deployd.domain import Base, Deploy, Health, Image
from deployd.errors import BuildFailed, ConfigError, RequestRefused, RolloutFailed, Unavailable
from deployd.events import Events
from deployd.http.local import PEER, local_socket
from deployd.http.server import Server, bind
from deployd.judge.traffic import Reading
from deployd.logs.logs import Logs
from deployd.passage import Parts
from deployd.pipeline import Pipeline
from deployd.ports.builder import BuildRequest, Present, Removal
from deployd.ports.gate import Candidate
from deployd.ports.log import Log
from deployd.ports.source import Context
from deployd.ports.target import Changed, InFlight, Progress, none_in_flight
from deployd.ports.watching import Life, Lives
from deployd.reporters.reporting import Reporting
from deployd.sampler import Sampler
from deployd.samples import Counted
from deployd.scheduler import Scheduler
from deployd.status import Status
from deployd.store.database import Database
from deployd.store.store import Store
from deployd.tasks import uninterrupted
from deployd.terminal import Size, Terminal
from deployd.watch.stage import Watch
from tests.fakes import FakeChecks, FakeModels, FakeSource

REPO = "https://example.com/acme/iris.git"
A, B, C = "a" * 40, "b" * 40, "c" * 40
MAIN = "refs/heads/main"
JSON = {"Content-Type": "application/json"}


class FakeBuilder:
    """Builds at once, unless a commit is held, or told to fail. `images`: those that are there, by their full names; `used`:
    those that a container uses."""

    def __init__(self) -> None:
        self.images: dict[str, Image] = {}
        self.used: set[str] = set()
        self.requests: list[BuildRequest] = []
        self.held: dict[str, asyncio.Event] = {}
        self.broken: set[str] = set()
        self.logs: dict[str, Log] = {}  # that were written into, by commit
        self.away: list[Unavailable] = []

    @property
    def built(self) -> set[str]:
        """The commits that were built."""
        return {request.commit for request in self.requests}

    async def build(self, request: BuildRequest, context: Context, log: Log) -> Image:
        assert context.commit == request.commit
        self.logs[request.commit] = log
        log.write(f"building {request.name}\n")
        if self.away:
            raise self.away.pop()
        if (gate := self.held.get(request.commit)) is not None:
            await gate.wait()
        if request.commit in self.broken:
            log.write("no such package: torhc\n")
            raise BuildFailed("the command returned 1", hint=log.tail(3))
        assert request.full_name not in self.images, "no build overwrites the image of another"
        self.requests.append(request)
        bases = (Base("python:3.12", f"sha256:{len(self.requests)}"),)
        image = Image(request.name, request.tag, f"sha256:{request.commit}{len(self.requests)}", bases=bases)
        self.images[image.full_name] = image
        return image

    async def find(self, image: Image) -> Present | None:
        return Present(10) if self.images.get(image.full_name) == image else None

    async def layers(self, image: Image) -> Mapping[str, int] | None:
        return {image.full_name: 10} if self.images.get(image.full_name) == image else None

    async def remove(self, image: Image, *, dry_run: bool = False) -> Removal:
        if image.full_name in self.used:
            return Removal(done=False, rest="the container a uses it")
        if not dry_run:
            self.images.pop(image.full_name, None)
        return Removal(done=True)

    async def trim(self, limit_bytes: int, *, dry_run: bool = False) -> int:
        return 0

    async def ping(self) -> None:
        return


class FakeTarget:
    """Serves whatever it is given at once; what it prints, runs and says is scripted."""

    def __init__(self) -> None:
        self.live: dict[str, int] = {}
        self.proving: list[int] = []  # the deploys that it was asked to prove
        self.removed: list[str] = []
        self.parts: dict[str, str] = {"engine": "ok", "gateway": "ok"}
        self.printed: list[bytes] = [b"one\n", b"two\n"]
        self.more = asyncio.Event()
        self.halfway: asyncio.Event | None = None  # where given, a roll-out says that it is half done, and waits for it
        self.replicas: int | None = None
        self.trouble: Exception | None = None  # what every roll-out fails with
        self.away: Unavailable | None = None  # what every question about a release is answered with
        self.broken: RolloutFailed | None = None  # what every restore is answered with
        self.healths: dict[str, Health] = {}  # of the apps whose live release is not well
        self.lost: set[str] = set()  # the ids of images that are gone
        self.changed: Changed | None = None  # tells that something has changed outside, once the target is watched
        self.unfit: set[str] = set()  # the apps that it cannot run
        self.ended: set[str] = set()  # the apps whose live release ends
        self.refusals: list[Unavailable] = []  # what the next roll-outs are answered with
        self.counts: dict[str, Counted] = {}  # what the gateway has counted so far

    async def require(self, app: App) -> None:
        if app.name in self.unfit:
            raise ConfigError(f"app.{app.name}.docker.network: this engine has no network back")

    async def roll_out(self, app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        if self.trouble is not None:
            raise self.trouble
        if self.refusals:
            raise self.refusals.pop()
        async with progress.step("candidate"):
            progress.log.write("started\n")
            if self.halfway is not None:
                await progress.tell("candidate", "1 of 2 updated")
                await self.halfway.wait()
        await progress.prove(Candidate(app, deploy, "http://192.0.2.1", image))
        await uninterrupted(self._cut_over(app, deploy, progress))

    async def prove(self, app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        if self.trouble is not None:
            raise self.trouble
        async with progress.step("candidate"):
            self.proving.append(deploy.number)
            if self.halfway is not None:
                await self.halfway.wait()
        await progress.prove(Candidate(app, deploy, "http://192.0.2.1", image))

    async def _cut_over(self, app: App, deploy: Deploy, progress: Progress) -> None:
        async with progress.step("cut-over"):
            await progress.cutting_over()
            self.live[app.name] = deploy.number
            await progress.serving()

    async def serving(self, app: App) -> int | None:
        return self.live.get(app.name)

    async def health(self, app: App, deploy: Deploy) -> Health:
        if self.away is not None:
            raise self.away
        if self.live.get(app.name) != deploy.number:
            return Health("down", "its container was removed")
        return self.healths.get(app.name, Health())

    async def traffic(self, app: App, number: int) -> Reading:
        return {}

    async def has(self, image: Image) -> bool:
        return image.id not in self.lost

    async def restore(self, app: App, deploy: Deploy) -> bool:
        if self.broken is not None:
            raise self.broken
        self.live[app.name] = deploy.number
        return False

    async def lives(self, app: App, deploy: Deploy) -> Lives:
        if self.live.get(app.name) != deploy.number:
            return {}
        return {str(deploy.number): Life("its pod", "", "exited with code 1" if app.name in self.ended else "")}

    @asynccontextmanager
    async def asked(self, app: App, deploy: Deploy) -> AsyncIterator[Candidate | None]:
        yield None

    async def return_traffic(self, app: App, deploy: Deploy) -> None:
        self.live[app.name] = deploy.number

    async def sweep(
        self,
        app: App,
        keep: int | None,
        log: Log,
        in_flight: InFlight = none_in_flight,
        *,
        standby: int | None = None,
    ) -> None:
        log.write("swept\n")

    async def remove(self, app: str) -> None:
        self.removed.append(app)

    async def output(
        self, app: App, *, follow: bool, tail: int | None, since: datetime | None = None
    ) -> AsyncIterator[bytes]:
        if app.name not in self.live:
            raise RequestRefused(409, f"nothing of {app.name} runs")
        for line in self.printed[-tail:] if tail else self.printed:
            yield line
        if follow:
            await self.more.wait()
            yield b"three\n"

    async def describe(self, app: App) -> Mapping[str, Any]:
        return {"container": f"deployd-{app.name}-{self.live.get(app.name)}"}

    async def execute(
        self,
        app: App,
        command: Sequence[str],
        out: Callable[[bytes], Awaitable[None]],
        terminal: Terminal | None = None,
    ) -> int:
        if terminal is not None:
            while (what := await terminal.next()) != b"q":
                await out(f"{what.rows}x{what.columns} ".encode() if isinstance(what, Size) else what)
            return 5
        for word in command:
            for byte in word.encode():
                await out(bytes([byte]))
        return 0 if command[0] == "true" else 7

    async def scale(self, app: App, replicas: int) -> None:
        if self.replicas is None:
            raise RequestRefused(409, f"{app.name} runs on Docker, which has no replicas")
        self.replicas = replicas

    async def watch(self, changed: Changed) -> None:
        self.changed = changed
        await asyncio.Event().wait()

    async def ping(self) -> Mapping[str, str]:
        return self.parts

    async def counted(self, apps: Sequence[App]) -> Mapping[str, Counted]:
        return {app.name: self.counts[app.name] for app in apps if app.name in self.counts}


class Desk:
    """The daemon and the handles by which a test holds it."""

    def __init__(self, directory: Path, store: Store, events: Events, data: Mapping[str, Any]) -> None:
        self.directory, self.store, self.events = directory, store, events
        self.source = FakeSource({REPO: {}})
        self.builder, self.target = FakeBuilder(), FakeTarget()
        self.logs = Logs(directory / "logs")
        self.next_config = config = parse(dict(data))
        self.needs_restart: list[str] = []
        targets, self.models = {"docker": self.target}, FakeModels()
        parts = Parts(store, self.logs, self.source, self.builder, targets, lambda _app: (), self.models)
        watch = Watch(targets, self.source, parts.gates)
        pipeline = Pipeline(parts, instance="test", builder=config.builder, registry=None)
        aftermath = Aftermath(store, self.logs, targets, self.builder, config.builder.cache_bytes, watch)
        running = Running(config)
        self.checks = FakeChecks()
        self.scheduler = Scheduler(
            running=running,
            store=store,
            source=self.source,
            pipeline=pipeline,
            aftermath=aftermath,
            targets=targets,
            checks=self.checks,
            models=self.models,
        )
        self.sampler = Sampler(running, store, self.target.counted)
        reporting = Reporting(running, store, events, self.logs)
        self.services = Services(
            running=running,
            scheduler=self.scheduler,
            store=store,
            events=events,
            logs=self.logs,
            targets=targets,
            sampler=self.sampler,
            reporting=reporting,
            reload=self._reload,
        )
        self.app = create_app(self.services, doors={})

    async def _reload(self) -> list[str]:
        self.services.running.replace(self.next_config)
        return self.needs_restart

    async def becomes(self, app: str, number: int, *statuses: Status) -> Deploy:
        """Wait for a deploy to be one of `statuses`."""
        async with asyncio.timeout(20):
            watch = self.events.watch(after=0)
            while True:
                now = await self.store.deploy(app, number)
                if now is not None and now.status in statuses:
                    return now
                await anext(watch)

    async def deployed(self, commit: str, app: str = "iris") -> Deploy:
        """Deploy `commit` by hand and wait until it is live."""
        self.source.remotes[REPO][MAIN] = commit
        deploy = await self.scheduler.deploy(app, commit, "a test")
        return await self.becomes(app, deploy.number, Status.LIVE)

    def browser(self, peer: str | None = None, **headers: str) -> httpx.AsyncClient:
        """An HTTP client of this account at the Unix socket, or from the address `peer`, without a network between; its streams
        do not stream."""
        app = self._locally if peer is None else self.app
        transport = httpx.ASGITransport(app, client=(peer or "", 5), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)

    async def _locally(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, "extensions": {PEER: {"user": os.getuid()}}}, receive, send)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Serve at a Unix socket, as for the command line; its URL."""
        path = self.directory / SOCKET
        with local_socket(path) as listener:
            async with self._served(listener):
                yield f"unix://{path}"

    @asynccontextmanager
    async def listening_publicly(self) -> AsyncIterator[str]:
        """Serve over TCP; the URL."""
        with bind("127.0.0.1", 0) as listener:
            async with self._served(listener):
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"

    @asynccontextmanager
    async def _served(self, listener: socket.socket) -> AsyncIterator[None]:
        server = Server(self.app, stop_within=2)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await server.listening.wait()
        try:
            yield
        finally:
            self.services.stopping.set()
            server.stop()
            await serving
            self.services.stopping.clear()


def settings(*names: str, **sections: Any) -> dict[str, Any]:
    """A config of Docker apps that all follow main of REPO."""
    apps = [
        {"name": name, "repo": REPO, "branch": "main", "gateway": {"listen": 8000 + at}}
        for at, name in enumerate(names or ("iris",))
    ]
    return {"app": apps, "git": {"poll_every": "1h"}, **sections}


@asynccontextmanager
async def desk(directory: Path, data: Mapping[str, Any] | None = None) -> AsyncIterator[Desk]:
    """A daemon that runs for the length of the block."""
    events = Events()
    async with Database(directory / "deployd.db") as database:
        given = dict(data or settings())
        given["server"] = {"state_dir": str(directory), **given.get("server", {})}
        made = Desk(directory, Store(database, events), events, given)
        await made.services.reporting.begin()
        task = asyncio.create_task(made.scheduler.serve())
        if made.services.config.app:
            async with asyncio.timeout(20):
                await made.source.asked.get()  # the first poll: all lanes stand
        try:
            yield made
        finally:
            made.services.stopping.set()
            task.cancel()
            await asyncio.wait({task})


def config_of(data: Mapping[str, Any]) -> Config:
    """For a reload."""
    return parse(dict(data))
