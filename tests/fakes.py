"""The few fakes: small, strict, one class for each thing outside that a fast test cannot have."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Self, cast

from deployd.config.app import App
from deployd.domain import Deploy, GateResult, Health, Image
from deployd.errors import DeploydError, RequestRefused, RolloutFailed, Unavailable
from deployd.goal import Head, ModelVersion
from deployd.judge.traffic import Reading
from deployd.ports.gate import Candidate, Gate, Serving
from deployd.ports.log import Log
from deployd.ports.models import ModelFiles
from deployd.ports.source import CommitFacts, Context
from deployd.ports.target import Changed, InFlight, Progress, none_in_flight
from deployd.ports.watching import Life, Lives
from deployd.tasks import uninterrupted
from deployd.terminal import Terminal


class FakeMade:
    """The record of the containers that were made, in memory."""

    def __init__(self) -> None:
        self.ids: dict[tuple[str, int], str] = {}

    async def made(self, app: str, number: int) -> str | None:
        return self.ids.get((app, number))

    async def record_made(self, app: str, number: int, container: str) -> None:
        self.ids[app, number] = container

    async def forget_made(self, app: str, number: int) -> None:
        del self.ids[app, number]


class FakeLog:
    """A log in memory."""

    def __init__(self) -> None:
        self.text = ""
        self._hidden: set[str] = set()

    def write(self, text: str) -> None:
        self.text += self.redact(text)

    def hide(self, secret: str) -> None:
        assert secret
        self._hidden.add(secret)

    def redact(self, text: str) -> str:
        for secret in self._hidden:
            text = text.replace(secret, "***")
        return text

    def tail(self, lines: int = 10) -> str:
        return "\n".join(self.text.splitlines()[-lines:])

    def mark(self) -> int:
        if self.text and not self.text.endswith("\n"):
            self.text += "\n"
        return len(self.text.encode())


class FakeContext:
    """The files of one commit; must be entered before it is used and is closed once."""

    def __init__(self, commit: str, files: Mapping[str, bytes] | None = None) -> None:
        self.commit = commit
        self.dockerfile = "Dockerfile"
        self.instructions = (files or {}).get("Dockerfile", b"FROM scratch\n")
        self._files = files or {}
        self._open = False

    async def __aenter__(self) -> Self:
        assert not self._open
        self._open = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._open
        self._open = False

    def add(self, into: str, files: Mapping[str, Path | bytes]) -> None:
        added = {path: one if isinstance(one, bytes) else one.read_bytes() for path, one in files.items()}
        self._files = {**self._files, **{f"{into}/{path}": content for path, content in added.items()}}

    async def tar(self) -> AsyncIterator[bytes]:
        assert self._open
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, content in {self.dockerfile: self.instructions, **self._files}.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o755
                tar.addfile(entry, io.BytesIO(content))
        yield packed.getvalue()

    async def read(self, path: str) -> bytes | None:
        assert self._open
        return self._files.get(path)


class FakeSource:
    """Remotes as dicts of refs. Counts the questions, and can be away."""

    def __init__(self, remotes: dict[str, dict[str, str]] | None = None) -> None:
        self.remotes = remotes or {}
        self.asked: asyncio.Queue[str] = asyncio.Queue()
        self.away = False
        self.touched: frozenset[str] | None = frozenset({"README.md"})
        self.messages: dict[str, str] = {}
        self.ancestors: dict[str, set[str]] = {}

    async def heads(self, app: App) -> Mapping[str, str]:
        self.asked.put_nowait(app.repo)
        await self.ping(app)
        refs = self.remotes.get(app.repo, {})
        return {ref: commit for ref, commit in refs.items() if fnmatch(ref, app.ref)}

    async def resolve(self, app: App, name: str) -> str:
        await self.ping(app)
        refs = self.remotes.get(app.repo, {})
        for ref in (f"refs/heads/{name}", f"refs/tags/{name}"):
            if ref in refs:
                return refs[ref]
        if name in refs.values():
            return name
        raise RequestRefused(404, f"{app.repo} has no {name}")

    async def fetch(self, app: App, commit: str, ref: str, log: Log) -> Context:
        await self.ping(app)
        return FakeContext(commit)

    async def changed(self, app: App, before: str, after: str) -> frozenset[str] | None:
        await self.ping(app)
        return self.touched if before != after else frozenset()

    async def facts(self, app: App, head: Head) -> CommitFacts:
        await self.ping(app)
        message = self.messages.get(head.commit, f"Subject of {head.commit[:7]}")
        return CommitFacts(message, message.partition("\n")[0], "Ada")

    async def contains(self, app: App, head: Head, commit: str) -> bool:
        await self.ping(app)
        return commit in self.ancestors.get(head.commit, ())

    async def ping(self, app: App) -> None:
        if self.away:
            raise Unavailable(f"{app.repo} is away")


class FakeModels:
    """A registry: what the alias of an app points to, by the app's name; at first to version 1. Can be away."""

    def __init__(self) -> None:
        self.versions: dict[str, ModelVersion] = {}
        self.fault: DeploydError | None = None

    async def present(self, app: App) -> ModelVersion:
        if self.fault is not None:
            raise self.fault
        return self.versions.get(app.name, ModelVersion("iris", "1", "models:/m-1", 1))

    async def fetch(self, app: App, version: ModelVersion, log: Log) -> ModelFiles:
        log.write(f"fetching {version}\n")
        return ModelFiles({}, {"MLmodel": version.path.encode()})


class FakeChecks:
    """The checks of commits are green but for those in `red`, with why; counts the questions."""

    def __init__(self) -> None:
        self.red: dict[str, str] = {}
        self.asked: asyncio.Queue[str] = asyncio.Queue()

    async def why_not_green(self, app: App, commit: str) -> str:
        self.asked.put_nowait(commit)
        return self.red.get(commit, "")


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
