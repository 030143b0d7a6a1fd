"""The few fakes: small, strict, one class for each thing outside that a fast test cannot have."""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Self

from deployd.config.app import App
from deployd.errors import DeploydError, RequestRefused, Unavailable
from deployd.goal import Head, ModelVersion
from deployd.ports.log import Log
from deployd.ports.models import ModelFiles
from deployd.ports.source import CommitFacts, Context


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
