"""Where apps are built and run. It outlives the daemon, whose hands on it are a `Builder` and a `Target`."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import datetime
from math import inf
from typing import Any

from deployd.config.app import App
from deployd.domain import Deploy, GateResult, Health, Image
from deployd.errors import BuildFailed, Unavailable
from deployd.judge.traffic import Reading
from deployd.ports.builder import BuildRequest, Present, Removal
from deployd.ports.gate import Candidate
from deployd.ports.log import Log
from deployd.ports.source import Context
from deployd.ports.target import Changed, InFlight, Progress, none_in_flight
from deployd.ports.watching import Lives
from deployd.tasks import uninterrupted
from deployd.terminal import Terminal
from tests.order.model.clock import now
from tests.order.model.remote import Remote

CLEAN_UP_S = 0.03
START_S = 0.2


class Engine:
    """The images, what runs, and which of it has the traffic."""

    def __init__(self, remote: Remote, call_s: float) -> None:
        self.remote = remote
        self.call_s = call_s
        self.build_s = 0.5
        self.away_until = -inf
        self.images: dict[str, Image] = {}
        self.containers: dict[str, set[int]] = defaultdict(set)
        self.serving: dict[str, int] = {}
        self.switching: set[str] = set()  # the apps of which a cut-over has begun
        self.left: set[tuple[str, int]] = set()  # candidates that could not be removed while it was away


class _Hands:
    """What one life of the daemon does to the engine; nothing any more once it is dead."""

    def __init__(self, engine: Engine) -> None:
        self.dead = False
        self._engine = engine
        self._at_work: set[str] = set()

    async def _call(self) -> Engine:
        """Ask the engine for something; it is done when this returns."""
        await asyncio.sleep(self._engine.call_s)
        if self.dead or now() < self._engine.away_until:
            raise Unavailable("the engine is away")
        return self._engine

    @contextmanager
    def _alone(self, app: str) -> Iterator[None]:
        assert app not in self._at_work, f"two {type(self).__name__}s work for {app} at once"
        self._at_work.add(app)
        try:
            yield
        finally:
            self._at_work.remove(app)

    async def ping(self) -> Any:
        raise AssertionError("nobody asks")


class Builder(_Hands):
    """Builds one image of an app at a time."""

    async def build(self, request: BuildRequest, context: Context, log: Log) -> Image:
        app, commit = request.app.name, request.commit
        assert context.commit == commit
        with self._alone(app):
            try:
                engine = await self._call()
                await asyncio.sleep(engine.build_s)
                if _faulty(engine, commit, "build"):
                    raise BuildFailed("the command returned 1")
                image = Image(request.name, request.tag, f"sha256:{request.tag}")
                engine.images[image.full_name] = image
                return image
            finally:
                await uninterrupted(asyncio.sleep(CLEAN_UP_S))

    async def find(self, image: Image) -> Present | None:
        return Present(1) if image.full_name in (await self._call()).images else None

    async def layers(self, image: Image) -> Mapping[str, int] | None:
        return {image.full_name: 1} if image.full_name in (await self._call()).images else None

    async def remove(self, image: Image, *, dry_run: bool = False) -> Removal:
        (await self._call()).images.pop(image.full_name, None)
        return Removal(done=True)

    async def trim(self, limit_bytes: int, *, dry_run: bool = False) -> int:
        return 0


class ModelGate:
    """Refuses the commits whose model is bad."""

    name = "golden"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:
        await asyncio.sleep(self._engine.call_s)
        bad = _faulty(self._engine, candidate.deploy.commit, "gate")
        return GateResult(self.name, "failed" if bad else "passed")


class Target(_Hands):
    """One roll-out of an app at a time, and never an older one over a newer one."""

    async def require(self, app: App) -> None:
        return

    async def roll_out(self, app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        assert image.tag.startswith(f"{deploy.commit}-")
        with self._alone(app.name):
            try:
                async with progress.step("candidate"):
                    await uninterrupted(self._start(app, deploy))
                    await asyncio.sleep(START_S)
                await progress.prove(Candidate(app, deploy, "http://192.0.2.1", image))
                await uninterrupted(self._cut_over(app, deploy, progress))
            finally:
                await uninterrupted(self._discard(app, deploy))

    async def prove(self, app: App, deploy: Deploy, image: Image, progress: Progress) -> None:
        with self._alone(app.name):
            try:
                async with progress.step("candidate"):
                    await uninterrupted(self._start(app, deploy))
                    await asyncio.sleep(START_S)
                await progress.prove(Candidate(app, deploy, "http://192.0.2.1", image))
            finally:
                await uninterrupted(self._discard(app, deploy))

    async def serving(self, app: App) -> int | None:
        return (await self._call()).serving.get(app.name)

    async def health(self, app: App, deploy: Deploy) -> Health:
        serves = await self.serving(app) == deploy.number
        return Health() if serves else Health("down", "something else serves")

    async def traffic(self, app: App, number: int) -> Reading:
        return {}

    async def has(self, image: Image) -> bool:
        return image in (await self._call()).images.values()

    async def restore(self, app: App, deploy: Deploy) -> bool:
        await uninterrupted(self._start(app, deploy))
        (await self._call()).serving[app.name] = deploy.number
        return True

    async def lives(self, app: App, deploy: Deploy) -> Lives:
        raise AssertionError("nothing is watched")

    def asked(self, app: App, deploy: Deploy) -> AbstractAsyncContextManager[Candidate | None]:
        raise AssertionError("nothing is watched")

    async def return_traffic(self, app: App, deploy: Deploy) -> None:
        raise AssertionError("nothing is watched")

    async def sweep(
        self,
        app: App,
        keep: int | None,
        log: Log,
        in_flight: InFlight = none_in_flight,
        *,
        standby: int | None = None,
    ) -> None:
        engine = await self._call()
        for number in sorted(engine.containers[app.name]):
            await self._call()
            if number not in {keep, engine.serving.get(app.name), in_flight()}:
                engine.containers[app.name].discard(number)

    async def _start(self, app: App, deploy: Deploy) -> None:
        (await self._call()).containers[app.name].add(deploy.number)

    async def _cut_over(self, app: App, deploy: Deploy, progress: Progress) -> None:
        """Switch and record, as one; what served before is put back when the record cannot be made."""
        self._engine.switching.add(app.name)
        try:
            async with progress.step("cut-over"):
                await progress.cutting_over()
                engine = await self._call()
                before = engine.serving.get(app.name)
                assert before is None or before <= deploy.number, f"{deploy.name} goes over {app.name}/{before}"
                engine.serving[app.name] = deploy.number
                try:
                    await progress.serving()
                except BaseException:
                    if before is not None and not self.dead:
                        engine.serving[app.name] = before
                    raise
        finally:
            self._engine.switching.remove(app.name)

    async def _discard(self, app: App, deploy: Deploy) -> None:
        """Remove a candidate that has no traffic; what cannot be removed now is left to `sweep`."""
        try:
            engine = await self._call()
        except Unavailable:
            if not self.dead:
                self._engine.left.add((app.name, deploy.number))
            return
        if engine.serving.get(app.name) != deploy.number:
            engine.containers[app.name].discard(deploy.number)

    async def remove(self, app: str) -> None:
        raise AssertionError("no app is removed")

    def output(
        self, app: App, *, follow: bool, tail: int | None, since: datetime | None = None
    ) -> AsyncIterator[bytes]:
        raise AssertionError("nobody asks")

    async def describe(self, app: App) -> Mapping[str, Any]:
        raise AssertionError("nobody asks")

    async def execute(
        self,
        app: App,
        command: Sequence[str],
        out: Callable[[bytes], Awaitable[None]],
        terminal: Terminal | None = None,
    ) -> int:
        raise AssertionError("nobody asks")

    async def scale(self, app: App, replicas: int) -> None:
        raise AssertionError("nobody asks")

    async def watch(self, changed: Changed) -> None:
        await asyncio.Event().wait()


def _faulty(engine: Engine, commit: str, where: str) -> bool:
    made = engine.remote.commits[commit]
    return made.fault == where and not made.healed
