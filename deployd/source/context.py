"""The build context of one fetched commit: its files, the name of its Dockerfile, and its tar.

Reads from mirrors and never writes to them.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from deployd.config.app import Build
from deployd.errors import BuildFailed
from deployd.ports.log import Log
from deployd.source import tree
from deployd.source.archive import Added, Archive, Part
from deployd.source.dockerignore import Ignore, for_dockerfile
from deployd.source.mirror import Mirror
from deployd.source.tree import Damaged, Entry, Kind

_DIRECTORIES = {Kind.DIRECTORY, Kind.SUBMODULE}


@dataclass(frozen=True, slots=True)
class Origin:
    """A fetched commit and the mirrors that hold its files, the app's own first. `size` is the limit of the tar in bytes."""

    mirrors: Sequence[Mirror]
    commit: str
    committed_at: int
    size: int


@contextmanager
def recreated_if_damaged(mirrors: Sequence[Mirror]) -> Iterator[None]:
    """When a read in the block finds damage, the next fetch creates the mirrors again."""
    try:
        yield
    except Damaged:
        for mirror in mirrors:
            mirror.suspect()
        raise


class CommitContext:
    """ports.Context on git objects. `open_context` makes it; it closes `resources` at its end."""

    def __init__(
        self,
        origin: Origin,
        parts: Sequence[Part],
        dockerfile: tuple[str, bytes],
        extra: bool,
        log: Log,
        resources: ExitStack,
    ) -> None:
        self.commit = origin.commit
        self.dockerfile, self.instructions = dockerfile
        self._origin = origin
        self._parts = parts
        self._extra = [Added(*dockerfile)] if extra else []
        self._log = log
        self._resources = resources
        self._warned = False
        self._streams: list[AsyncGenerator[bytes, None]] = []

    def add(self, into: str, files: Mapping[str, Path | bytes]) -> None:
        """Add files of this host; see ports.Context."""
        above = {str(path) for path in (PurePosixPath(into), *PurePosixPath(into).parents)}
        for entry in (entry for part in self._parts for entry in part.entries):
            if entry.path in above and entry.kind is not Kind.DIRECTORY:
                what = f"{entry.path} in {self.commit} is no directory, so nothing can be put into {into}"
                raise BuildFailed(what, hint="set app.model.into to another directory")
        if self.dockerfile.startswith(f"{into}/"):
            what = f"{into} would be replaced with the Dockerfile in it"
            raise BuildFailed(what, hint="set app.model.into to another directory")
        self._parts = [
            Part(part.git, [entry for entry in part.entries if not entry.path.startswith(f"{into}/")], part.lfs)
            for part in self._parts
        ]
        self._extra += [Added(f"{into}/{path}", files[path]) for path in sorted(files)]

    def tar(self) -> AsyncIterator[bytes]:
        """The context as a tar stream; see ports.Context."""
        stream = self._tar()
        self._streams.append(stream)
        return stream

    async def read(self, path: str) -> bytes | None:
        """A file of the commit; see ports.Context. Links are followed only inside the repository. BuildFailed above 16 MiB."""
        with recreated_if_damaged(self._origin.mirrors):
            return (await tree.contents(self._origin.mirrors[0].git, self.commit, path))[0]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        for stream in self._streams:
            await stream.aclose()
        self._resources.close()

    async def _tar(self) -> AsyncGenerator[bytes, None]:
        archive = Archive(self._parts, self._extra, self._origin.committed_at, self._origin.size)
        with recreated_if_damaged(self._origin.mirrors):
            async with aclosing(archive.stream()) as pieces:
                async for piece in pieces:
                    yield piece
        if archive.pointers and not self._warned:
            self._warned = True
            self._log.write(
                f"Warning: {archive.pointers} files are LFS pointers without their content; set lfs = true in [app.build]\n"
            )


async def open_context(
    origin: Origin, build: Build, parts: Sequence[Part], log: Log, resources: ExitStack
) -> CommitContext:
    """The context of a commit, made of `parts`; it takes over `resources`.

    BuildFailed when there is no Dockerfile, or the .dockerignore is invalid.
    """
    path = _dockerfile(build)
    git = origin.mirrors[0].git
    ignores = (f"{path}.dockerignore", str(PurePosixPath(build.context, ".dockerignore")))
    instructions, *texts = await tree.contents(git, origin.commit, path, *ignores)
    if instructions is None:
        raise BuildFailed(
            f"there is no file {path} in {origin.commit}",
            hint="app.build.dockerfile is relative to the repository's root; a link out of the repository is not followed",
        )
    name = _inside(path, build.context, parts)
    try:
        ignore = for_dockerfile(zip(ignores, texts, strict=True))
    except ValueError as exc:
        raise BuildFailed(str(exc), hint="docs.docker.com/build/concepts/context explains .dockerignore files") from exc
    always = {".dockerignore", name or ""}
    included = await asyncio.to_thread(_included, parts, ignore, always)
    own = name or f".dockerfile.{hashlib.sha256(instructions).hexdigest()[:20]}"
    return CommitContext(origin, included, (own, instructions), name is None, log, resources.pop_all())


def _dockerfile(build: Build) -> str:
    """The Dockerfile's path from the repository's root, as with `docker build -f`; by default it is in the context, as without
    -f."""
    configured = "dockerfile" in build.model_fields_set
    return str(PurePosixPath(build.dockerfile) if configured else PurePosixPath(build.context, build.dockerfile))


def _inside(path: str, context: str, parts: Sequence[Part]) -> str | None:
    """The Dockerfile's name in the tar, if it is a regular file of the context. A link might point to an ignored file."""
    name = path if context == "." else path.removeprefix(f"{context}/")
    if context != "." and name == path:
        return None
    files = {Kind.FILE, Kind.PROGRAM}
    return name if any(entry.path == name and entry.kind in files for entry in parts[0].entries) else None


def _included(parts: Sequence[Part], ignore: Ignore, always: set[str]) -> list[Part]:
    """The parts without ignored entries. An ignored directory stays when an exception includes something in it."""
    withheld: dict[str, Entry] = {}
    return [Part(part.git, list(_chosen(part.entries, ignore, always, withheld)), part.lfs) for part in parts]


def _chosen(entries: Sequence[Entry], ignore: Ignore, always: set[str], withheld: dict[str, Entry]) -> Iterator[Entry]:
    for entry in entries:
        directory = entry.kind in _DIRECTORIES
        if ignore.ignores(entry.path, directory=directory) and entry.path not in always:
            if directory:
                withheld[entry.path] = entry
            continue
        if withheld:
            for parent in reversed(PurePosixPath(entry.path).parents):
                if above := withheld.pop(str(parent), None):
                    yield above
        yield entry
