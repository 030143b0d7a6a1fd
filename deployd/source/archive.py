"""Git objects as a tar stream in bounded memory: the same commit gives the same bytes, whoever asks and whenever.

Every entry is owned by root and as old as the commit. Links stay links. It knows nothing of ignoring, fetching or apps.
"""

import asyncio
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from deployd.errors import BuildFailed
from deployd.source.git import Git, GitFailed
from deployd.source.lfs import Pointer, pointer
from deployd.source.tree import Entry, Kind, damaged

_PIECE = 256 * 1024
_LINK = 64 * 1024
_POINTER = 1024
_MODES = {Kind.DIRECTORY: 0o755, Kind.SUBMODULE: 0o755, Kind.FILE: 0o644, Kind.PROGRAM: 0o755, Kind.LINK: 0o777}


@dataclass(frozen=True, slots=True)
class Part:
    """What one repository gives to the tar; `lfs` holds its large files, where they are wanted."""

    git: Git
    entries: Sequence[Entry]
    lfs: Path | None = None


class Archive:
    """One tar. `made_at` is in seconds since 1970, `size` bounds the bytes, `extra` are files that are in no tree.

    `pointers` counts the LFS pointers that were left as they are.
    """

    def __init__(self, parts: Sequence[Part], extra: Sequence[tuple[str, bytes]], made_at: int, size: int) -> None:
        self._parts = parts
        self._extra = extra
        self._made_at = made_at
        self._size = size
        self._written = 0
        self.pointers = 0

    async def stream(self) -> AsyncGenerator[bytes]:
        """The whole tar. Unavailable when an object cannot be read, BuildFailed when it grows past its bound."""
        waiting = bytearray()
        for part in self._parts:
            async with aclosing(self._part(part)) as pieces:
                async for piece in pieces:
                    waiting += piece
                    if len(waiting) >= _PIECE:
                        yield bytes(waiting)
                        waiting.clear()
        for name, content in self._extra:
            waiting += self._header(Entry(name, Kind.FILE, ""), len(content)) + content + _padding(len(content))
        yield bytes(waiting) + bytes(2 * tarfile.BLOCKSIZE)

    async def _part(self, part: Part) -> AsyncGenerator[bytes]:
        wanted = "".join(f"{entry.id}\n" for entry in part.entries if _has_content(entry)).encode()
        try:
            async with part.git.stream("cat-file", "--batch", "--buffer", stdin=wanted) as objects:
                for entry in part.entries:
                    if not _has_content(entry):
                        yield self._header(entry)
                        continue
                    async for piece in self._entry(entry, await _announced(objects, entry), objects, part.lfs):
                        yield piece
                await objects.read()
        except (GitFailed, asyncio.IncompleteReadError) as exc:
            raise damaged(exc) from exc

    async def _entry(
        self, entry: Entry, size: int, objects: asyncio.StreamReader, lfs: Path | None
    ) -> AsyncIterator[bytes]:
        if entry.kind is Kind.LINK:
            target = (await _whole(objects, size)).decode("utf-8", "surrogateescape")
            yield self._header(entry, target=target)
            return
        if size > _POINTER:
            yield self._header(entry, size)
            async for piece in _pieces(objects, size):
                yield piece
            yield _padding(size)
            return
        content = await _whole(objects, size)
        found = pointer(content)
        if found is None or lfs is None:
            self.pointers += found is not None
            yield self._header(entry, size) + content + _padding(size)
            return
        yield self._header(entry, found.size)
        async for piece in _large_file(lfs, found, entry):
            yield piece
        yield _padding(found.size)

    def _header(self, entry: Entry, size: int = 0, target: str = "") -> bytes:
        self._written += size + tarfile.BLOCKSIZE
        if self._written > self._size:
            raise BuildFailed(
                f"the build context is larger than git.max_size ({self._size} bytes)",
                hint="leave files out by .dockerignore, or raise max_size in [git]",
            )
        info = tarfile.TarInfo(entry.path)
        info.size, info.mode, info.mtime, info.linkname = size, _MODES[entry.kind], self._made_at, target
        if entry.kind in {Kind.DIRECTORY, Kind.SUBMODULE}:
            info.type = tarfile.DIRTYPE
        elif entry.kind is Kind.LINK:
            info.type = tarfile.SYMTYPE
        return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _has_content(entry: Entry) -> bool:
    return entry.kind not in {Kind.DIRECTORY, Kind.SUBMODULE}


async def _announced(objects: asyncio.StreamReader, entry: Entry) -> int:
    """The size of the object that comes next, which is the entry's, or the mirror is damaged."""
    line = (await objects.readline()).split()
    if len(line) != 3 or line[0].decode() != entry.id or line[1] != b"blob":
        raise GitFailed(-1, f"{entry.path!r}: {b' '.join(line).decode('utf-8', 'replace')}")
    size = int(line[2])
    if entry.kind is Kind.LINK and size > _LINK:
        raise BuildFailed(f"{entry.path!r} is a link to a name of {size} bytes")
    return size


async def _whole(objects: asyncio.StreamReader, size: int) -> bytes:
    return (await objects.readexactly(size + 1))[:-1]


async def _pieces(objects: asyncio.StreamReader, size: int) -> AsyncIterator[bytes]:
    while size:
        piece = await objects.read(min(_PIECE, size))
        if not piece:
            raise asyncio.IncompleteReadError(b"", size)
        size -= len(piece)
        yield piece
    await objects.readexactly(1)


async def _large_file(lfs: Path, found: Pointer, entry: Entry) -> AsyncIterator[bytes]:
    path = lfs / found.id[:2] / found.id[2:4] / found.id
    left = found.size
    with _opened(path, found, entry) as file:
        while left and (piece := await asyncio.to_thread(file.read, min(4 * _PIECE, left))):
            left -= len(piece)
            yield piece
    if left:
        raise BuildFailed(f"the LFS object of {entry.path!r} is {left} bytes short")


def _opened(path: Path, found: Pointer, entry: Entry) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as exc:
        raise BuildFailed(
            f"the remote has no LFS object {found.id} for {entry.path!r}", hint="was it pushed with `git lfs push`?"
        ) from exc


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
