"""The interface to git: commits and their build contexts."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from deployd.config.app import App
from deployd.goal import Head
from deployd.ports.log import Log


class Context(Protocol):
    """The build context of one commit, read from git objects. An async context manager; use it only inside its block."""

    commit: str
    dockerfile: str
    """The Dockerfile's name in the tar. The configured one may lie outside the context or be a link."""
    instructions: bytes
    """The content of the Dockerfile."""

    def add(self, into: str, files: Mapping[str, Path | bytes]) -> None:
        """Put files of this host into a directory of the context, in the place of what the commit has there. `.dockerignore` does
        not take them out. BuildFailed when the commit has something else than a directory on the way there."""
        ...

    def tar(self) -> AsyncIterator[bytes]:
        """The context as an uncompressed tar stream; `.dockerignore` is applied, the Dockerfile is always in it.

        Each call starts a new stream.
        """
        ...

    async def read(self, path: str) -> bytes | None:
        """A file of the commit by its path from the repository's root, None when it is not there (or is no file)."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc: object) -> None: ...


@dataclass(frozen=True, slots=True)
class CommitFacts:
    """The facts of a commit: its whole message; subject (200 characters) and author (100) on one line each."""

    message: str
    subject: str
    author: str


class Source(Protocol):
    """The source of commits."""

    async def heads(self, app: App) -> Mapping[str, str]:
        """The remote's refs that `app` watches, full ref -> commit (tags peeled). One `ls-remote` per repository and moment:
        apps that share a repository and ask at the same time share the answer."""
        ...

    async def resolve(self, app: App, name: str) -> str:
        """The full SHA that a person means by `name` (branch, tag, full or short SHA). RequestRefused 404 when there is none."""
        ...

    async def fetch(self, app: App, commit: str, ref: str, log: Log) -> Context:
        """Exactly `commit`, retrying while the remote does not show it yet. BuildFailed when the remote does not have it."""
        ...

    async def changed(self, app: App, before: str, after: str) -> frozenset[str] | None:
        """The paths that differ between two commits of the remote; None when the remote lacks one of them."""
        ...

    async def facts(self, app: App, head: Head) -> CommitFacts:
        """The facts of a commit, which is fetched for that; Unavailable or BuildFailed when that cannot be done."""
        ...

    async def contains(self, app: App, head: Head, commit: str) -> bool:
        """Whether `commit` is one of the last thousand ancestors of `head` (or the head itself), as far as the remote says."""
        ...

    async def ping(self, app: App) -> None:
        """The remote answers and has the watched branch; else Unavailable with the reason."""
        ...
