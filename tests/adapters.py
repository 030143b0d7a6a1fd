"""The builder and the target of a daemon in this process: they do at once what they are asked, unless a test scripts them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from deployd.config.app import App
from deployd.domain import Base, Deploy, Health, Image
from deployd.errors import BuildFailed, ConfigError, RequestRefused, RolloutFailed, Unavailable
from deployd.judge.traffic import Reading
from deployd.ports.builder import BuildRequest, Present, Removal
from deployd.ports.gate import Candidate
from deployd.ports.log import Log
from deployd.ports.source import Context
from deployd.ports.target import Changed, InFlight, Progress, none_in_flight
from deployd.ports.watching import Life, Lives
from deployd.samples import Counted
from deployd.tasks import uninterrupted
from deployd.terminal import Size, Terminal


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
