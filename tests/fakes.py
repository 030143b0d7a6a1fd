"""The few fakes: small, strict, one class for each thing outside that a fast test cannot have."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from fnmatch import fnmatch
from typing import Self

from deployd.config.app import App
from deployd.errors import RequestRefused, Unavailable
from deployd.ports import Context, Log


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

    def tar(self) -> AsyncIterator[bytes]:
        raise AssertionError("a fake context has no tar; use the real source")

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
