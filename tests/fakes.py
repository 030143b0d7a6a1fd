"""The few fakes: small, strict, one class for each thing outside that a fast test cannot have."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from fnmatch import fnmatch
from typing import Self

from deployd.config.app import App
from deployd.domain import Image
from deployd.errors import RequestRefused, RolloutFailed, Unavailable
from deployd.ports import Candidate, Context, Gate, Log


class FakeLog:
    """A log in memory."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def hide(self, secret: str) -> None:
        assert secret

    def tail(self, lines: int = 10) -> str:
        return "\n".join(self.text.splitlines()[-lines:])


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

    async def subject(self, app: App, commit: str) -> tuple[str, str]:
        return f"Subject of {commit[:7]}", "Ada"

    async def ping(self, app: App) -> None:
        if self.away:
            raise Unavailable(f"{app.repo} is away")


class FakeProgress:
    """What a target tells while it rolls out, in order in `said`, its log in `book`. `gate` proves the candidate, if given."""

    def __init__(self, gate: Gate | None = None) -> None:
        self.book = FakeLog()
        self.log: Log = self.book
        self.said: list[str] = []
        self.proving = asyncio.Event()
        self.outrun = False
        self.record_fails = False
        self._gate = gate

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        self.said.append(name)
        yield

    async def prove(self, candidate: Candidate) -> None:
        self.said.append("prove")
        self.proving.set()
        if self._gate is not None:
            result = await self._gate.ask(candidate, None, self.log)
            if result.verdict == "failed":
                raise RolloutFailed(result.detail)

    async def pushed(self, image: Image) -> None:
        assert image.digest is not None
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
