"""The fakes on the two sides of a roll-out: a target in memory, and who asks it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, cast

from deployd.config.app import App
from deployd.domain import Deploy, GateResult, Health, Image
from deployd.errors import RequestRefused, RolloutFailed, Unavailable
from deployd.judge.traffic import Reading
from deployd.ports.gate import Candidate, Gate, Serving
from deployd.ports.log import Log
from deployd.ports.target import Changed, InFlight, Progress, none_in_flight
from deployd.ports.watching import Life, Lives
from deployd.tasks import uninterrupted
from deployd.terminal import Terminal
from tests.fakes import FakeLog


class FakeProgress:
    """What a target tells while it rolls out, in order in `said`, its log in `book`. `gate` proves the candidate, if given."""

    def __init__(self, gate: Gate | None = None) -> None:
        self.book = FakeLog()
        self.log: Log = self.book
        self.said: list[str] = []
        self.verdicts: list[GateResult] = []
        self.proving = asyncio.Event()
        self.outrun = False
        self.record_fails = False
        self.image: Image | None = None  # with its digest in the registry
        self.files: dict[str, bytes] = {}
        self.gate = gate
        self.live: Serving | None = None  # what served while the candidate was proven

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        self.said.append(name)
        yield

    async def tell(self, step: str, text: str) -> None:
        assert step in self.said
        self.book.write(f"{text}\n")

    async def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    async def prove(self, candidate: Candidate) -> None:
        self.said.append("prove")
        self.live = candidate.live
        self.proving.set()
        if self.gate is not None:
            result = await self.gate.ask(candidate, None, self.log)
            if result.verdict == "failed":
                raise RolloutFailed(result.detail)

    async def prove_again(self, candidate: Candidate) -> None:
        assert "prove" in self.said
        self.said.append("prove again")

    async def judged(self, result: GateResult) -> None:
        self.verdicts.append(result)

    async def pushed(self, image: Image) -> None:
        assert image.digest is not None
        self.image = image
        self.said.append("pushed")

    async def cutting_over(self) -> None:
        if self.outrun:
            raise asyncio.CancelledError
        self.said.append("rolling_out")

    async def serving(self) -> None:
        assert "rolling_out" in self.said
        if self.record_fails:
            raise Unavailable("the disk is full")
        self.said.append("live")


class FakeTarget:
    """A target in memory. Images tagged `bad` refuse; whatever is left running is in `containers`, app -> numbers."""

    def __init__(self) -> None:
        self.containers: dict[str, set[int]] = {}
        self.starts: dict[int, int] = {}  # how often the containers of a deploy were started again
        self._serving: dict[str, int] = {}
        self._changed: Changed | None = None

    async def require(self, app: App) -> None:
        return

    async def roll_out(self, app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        running = self.containers.setdefault(app.name, set())
        assert deploy.number not in running or self._serving.get(app.name) == deploy.number
        running.add(deploy.number)
        try:
            async with progress.step("candidate"):
                serving = self._serving.get(app.name)
                live = None if serving in {None, deploy.number} else Serving(int(serving or 0), "http://192.0.2.2")
                await progress.prove(Candidate(app, deploy, "http://192.0.2.1", image, live=live))
                if image.tag == "bad":
                    raise RolloutFailed("exited with code 1", hint="no model file")
            await uninterrupted(self._cut_over(app, deploy, progress))
        finally:
            if self._serving.get(app.name) != deploy.number:
                running.discard(deploy.number)

    async def prove(self, app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        running = self.containers.setdefault(app.name, set())
        running.add(deploy.number)
        try:
            async with progress.step("candidate"):
                await progress.prove(Candidate(app, deploy, "http://192.0.2.1", image))
                if image.tag == "bad":
                    raise RolloutFailed("exited with code 1", hint="no model file")
        finally:
            running.discard(deploy.number)

    async def serving(self, app: App) -> int | None:
        return self._serving.get(app.name)

    async def health(self, app: App, deploy: Deploy) -> Health:
        return Health() if self._serving.get(app.name) == deploy.number else Health("down", "something else serves")

    async def traffic(self, app: App, number: int) -> Reading:
        return {}

    async def has(self, image: Image) -> bool:
        return image.tag != "bad"

    async def restore(self, app: App, deploy: Deploy) -> bool:
        if deploy.image is None or deploy.image.tag == "bad":
            raise RolloutFailed(f"{deploy.name} does not start")
        self.containers.setdefault(app.name, set()).add(deploy.number)
        self._serving[app.name] = deploy.number
        return True

    async def lives(self, app: App, deploy: Deploy) -> Lives:
        runs = deploy.number in self.containers.get(app.name, set())
        starts = str(self.starts.get(deploy.number, 0))
        return {str(deploy.number): Life("its container", starts, "" if runs else "was removed")}

    @asynccontextmanager
    async def asked(self, app: App, deploy: Deploy) -> AsyncIterator[Candidate | None]:
        runs = deploy.number in self.containers.get(app.name, set()) and deploy.image is not None
        yield Candidate(app, deploy, "http://192.0.2.1", cast("Image", deploy.image)) if runs else None

    async def return_traffic(self, app: App, deploy: Deploy) -> None:
        if deploy.number not in self.containers.get(app.name, set()):
            raise RolloutFailed(f"{deploy.name} does not start")
        self._serving[app.name] = deploy.number

    async def sweep(
        self,
        app: App,
        keep: int | None,
        log: Log,
        in_flight: InFlight = none_in_flight,
        *,
        standby: int | None = None,
    ) -> None:
        for number in self.containers.get(app.name, set()) - {keep, standby, self._serving.get(app.name), in_flight()}:
            self.containers[app.name].discard(number)

    async def remove(self, app: str) -> None:
        self.containers.pop(app, None)
        self._serving.pop(app, None)

    async def output(
        self, app: App, *, follow: bool, tail: int | None, since: datetime | None = None
    ) -> AsyncIterator[bytes]:
        self._must_run(app)
        yield b"serving\n"

    async def describe(self, app: App) -> Mapping[str, Any]:
        return {"target": "fake", "serving": await self.serving(app)}

    async def execute(
        self,
        app: App,
        command: Sequence[str],
        out: Callable[[bytes], Awaitable[None]],
        terminal: Terminal | None = None,
    ) -> int:
        self._must_run(app)
        await out(" ".join(command).encode())
        return 0

    async def scale(self, app: App, replicas: int) -> None:
        raise RequestRefused(409, f"{app.name} has no replicas")

    async def ping(self) -> Mapping[str, str]:
        return {"engine": "ok"}

    async def watch(self, changed: Changed) -> None:
        self._changed = changed
        await asyncio.Event().wait()

    async def _cut_over(self, app: App, deploy: Deploy, progress: Progress) -> None:
        async with progress.step("cut-over"):
            await progress.cutting_over()
            await progress.serving()
            self._serving[app.name] = deploy.number

    def lose(self, app: str) -> None:
        """Somebody removes what serves."""
        self.containers[app].discard(self._serving.pop(app))
        if self._changed is not None:
            self._changed(app)

    def restart(self, app: str, number: int) -> None:
        """The container of a deploy ends, and the engine starts it again."""
        self.starts[number] = self.starts.get(number, 0) + 1
        if self._changed is not None:
            self._changed(app)

    def _must_run(self, app: App) -> None:
        if app.name not in self._serving:
            raise RequestRefused(409, f"{app.name} has no running release")
