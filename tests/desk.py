"""A whole daemon in this process: real store, scheduler, pipeline, logs and HTTP; git, builder and target are fakes."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from starlette.types import Receive, Scope, Send

from deployd.aftermath import Aftermath
from deployd.api.app import create_app
from deployd.api.services import Services
from deployd.config.daemon import SOCKET, Config
from deployd.config.file import parse
from deployd.config.running import Running
from deployd.domain import Deploy
from deployd.events import Events
from deployd.http.local import PEER, local_socket
from deployd.http.server import Server, bind
from deployd.logs.logs import Logs
from deployd.passage import Parts
from deployd.pipeline import Pipeline
from deployd.reporters.reporting import Reporting
from deployd.sampler import Sampler
from deployd.scheduler import Scheduler
from deployd.status import Status
from deployd.store.database import Database
from deployd.store.store import Store
from deployd.watch.stage import Watch
from tests.adapters import FakeBuilder, FakeTarget
from tests.fakes import FakeChecks, FakeModels, FakeSource

REPO = "https://example.com/acme/iris.git"
A, B, C = "a" * 40, "b" * 40, "c" * 40
MAIN = "refs/heads/main"
JSON = {"Content-Type": "application/json"}


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
