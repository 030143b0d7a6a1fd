"""Git objects as a tar stream in bounded memory. The same commit always gives the same bytes.

Every entry belongs to root and has the time of the commit. Links stay links. Knows nothing of ignoring, fetching or apps.
"""

import asyncio
import os
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from deployd.errors import BuildFailed, Unavailable
from deployd.source.git import Git, GitFailed
from deployd.source.lfs import Pointer, pointer
from deployd.source.tree import Entry, Kind, damaged

_READ = 64 * 1024
_PIECE = 256 * 1024
_WHOLE = 64 * 1024
_POINTER = 1024
_MODES = {Kind.DIRECTORY: 0o755, Kind.SUBMODULE: 0o755, Kind.FILE: 0o644, Kind.PROGRAM: 0o755, Kind.LINK: 0o777}
_DIRECTORIES = {Kind.DIRECTORY, Kind.SUBMODULE}
_TYPES = {Kind.DIRECTORY: tarfile.DIRTYPE, Kind.SUBMODULE: tarfile.DIRTYPE, Kind.LINK: tarfile.SYMTYPE}


@dataclass(frozen=True, slots=True)
class Part:
    """The entries of one repository in the tar; `lfs` is the directory of its large files, when the app wants them."""

    git: Git
    entries: Sequence[Entry]
    lfs: Path | None = None


@dataclass(frozen=True, slots=True)
class _Large:
    """A large file that replaces its pointer."""

    path: Path
    pointer: Pointer
    entry: Entry


@dataclass(frozen=True, slots=True)
class Added:
    """A file that is in no tree: its path in the tar, and its content or where that is on this host."""

    path: str
    content: bytes | Path


class Archive:
    """One tar. `made_at` is in seconds since 1970, `size` is the limit in bytes for what is in trees, `extra` are files in none.

    `pointers` counts the LFS pointers that were not replaced.
    """

    def __init__(self, parts: Sequence[Part], extra: Sequence[Added], made_at: int, size: int) -> None:
        self._parts = parts
        self._extra = extra
        self._headers = _Headers(made_at)
        self._size = size
        self._written = 0
        self.pointers = 0

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """The whole tar. Unavailable when an object cannot be read, BuildFailed when the tar exceeds its limit."""
        for part in self._parts:
            async with aclosing(self._part(part)) as pieces:
                async for piece in pieces:
                    yield piece
        for added in self._extra:
            async for piece in self._added(added):
                yield piece
        yield bytes(2 * tarfile.BLOCKSIZE)

    async def _added(self, added: Added) -> AsyncIterator[bytes]:
        entry = Entry(added.path, Kind.FILE, "")
        if isinstance(added.content, bytes):
            size = len(added.content)
            yield self._headers.of(entry, size, "") + added.content + _padding(size)
            return
        with _opened_here(added.path, added.content) as file:
            size = os.fstat(file.fileno()).st_size
            yield self._headers.of(entry, size, "")
            async for piece in _pieces(file, size):
                yield piece
        yield _padding(size)

    async def _part(self, part: Part) -> AsyncGenerator[bytes, None]:
        wanted = "".join(f"{entry.id}\n" for entry in part.entries if _has_content(entry)).encode()
        blobs, buffered = _Blobs(), bytearray()
        try:
            async with part.git.stream("cat-file", "--batch", "--buffer", stdin=wanted) as objects:
                for piece in self._tarred(part, blobs):
                    if isinstance(piece, bytes):
                        buffered += piece
                    if len(buffered) >= _PIECE or isinstance(piece, _Large):
                        yield bytes(buffered)
                        buffered.clear()
                    if isinstance(piece, _Large):
                        async for stretch in _read(piece):
                            yield stretch
                    elif piece is None:
                        blobs.feed(await objects.read(_READ))
                        # A read from a full buffer does not wait, so thousands of small files would block the event loop.
                        await asyncio.sleep(0)
                await objects.read()
        except GitFailed as exc:
            raise damaged(exc) from exc
        yield bytes(buffered)

    def _tarred(self, part: Part, blobs: "_Blobs") -> Iterator[bytes | _Large | None]:
        """The tar in pieces; None whenever `blobs` needs more data."""
        for entry in part.entries:
            if not _has_content(entry):
                yield self._header(entry)
                continue
            while (line := blobs.line()) is None:
                yield None
            size = _size_of(line, entry)
            if size <= _WHOLE or entry.kind is Kind.LINK:
                while (content := blobs.take(size + 1)) is None:
                    yield None
                yield from self._small(entry, content[:-1], part.lfs)
                continue
            yield self._header(entry, size)
            yield from _copied(blobs, size)

    def _small(self, entry: Entry, content: bytes, lfs: Path | None) -> Iterator[bytes | _Large]:
        if entry.kind is Kind.LINK:
            yield self._header(entry, target=content.decode("utf-8", "surrogateescape"))
            return
        found = pointer(content) if len(content) <= _POINTER else None
        if found is None or lfs is None:
            self.pointers += found is not None
            yield self._header(entry, len(content)) + content + _padding(len(content))
            return
        yield self._header(entry, found.size)
        yield _Large(lfs / found.id[:2] / found.id[2:4] / found.id, found, entry)
        yield _padding(found.size)

    def _header(self, entry: Entry, size: int = 0, target: str = "") -> bytes:
        self._written += size + tarfile.BLOCKSIZE
        if self._written > self._size:
            raise BuildFailed(
                f"the build context is larger than git.max_size ({self._size} bytes)",
                hint="exclude files by .dockerignore, or raise max_size in [git]",
            )
        return self._headers.of(entry, size, target)


class _Headers:
    """Tar headers of entries that differ only in kind, name and size."""

    def __init__(self, made_at: int) -> None:
        self._made_at = made_at
        plain = {kind: self._any(Entry("", kind, ""), 0, "") for kind in Kind}
        self._plain = {kind: bytes(100) + header[100:148] + b" " * 8 + header[156:] for kind, header in plain.items()}
        self._sums = {kind: sum(header) - 11 * ord("0") for kind, header in self._plain.items()}

    def of(self, entry: Entry, size: int, target: str) -> bytes:
        name = entry.path.encode("utf-8", "surrogateescape") + (b"/" if entry.kind in _DIRECTORIES else b"")
        if len(name) > tarfile.LENGTH_NAME or size >= 8**11 or target:
            return self._any(entry, size, target)
        # tarfile needs 30 microseconds for this, these lines three; a context may have many files.
        header, digits = bytearray(self._plain[entry.kind]), b"%011o" % size
        header[: len(name)], header[124:135] = name, digits
        header[148:155] = b"%06o\0" % (self._sums[entry.kind] + sum(name) + sum(digits))
        return bytes(header)

    def _any(self, entry: Entry, size: int, target: str) -> bytes:
        info = tarfile.TarInfo(entry.path)
        info.size, info.mode, info.mtime, info.linkname = size, _MODES[entry.kind], self._made_at, target
        info.type = _TYPES.get(entry.kind, tarfile.REGTYPE)
        return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


class _Blobs:
    """Splits the output of `git cat-file --batch`."""

    def __init__(self) -> None:
        self._buffer = b""
        self._position = 0

    def feed(self, data: bytes) -> None:
        """Add output; GitFailed when it is empty, because git ended too early."""
        if not data:
            raise GitFailed(-1, "git ended in the middle of an object")
        self._buffer, self._position = self._buffer[self._position :] + data, 0

    def line(self) -> bytes | None:
        """The next line; None until it is complete."""
        end = self._buffer.find(b"\n", self._position)
        if end < 0:
            return None
        line, self._position = self._buffer[self._position : end], end + 1
        return line

    def take(self, size: int) -> bytes | None:
        """Exactly `size` bytes; None until they are there."""
        return self.some(size) if len(self._buffer) - self._position >= size else None

    def some(self, size: int) -> bytes:
        """At most `size` bytes, as many as are there."""
        taken = self._buffer[self._position : self._position + size]
        self._position += len(taken)
        return taken


def _has_content(entry: Entry) -> bool:
    return entry.kind not in _DIRECTORIES


def _size_of(line: bytes, entry: Entry) -> int:
    """The size of the entry's object, from git's line before it. GitFailed when it is another object: the mirror is damaged."""
    name, _, rest = line.decode("ascii", "replace").partition(" ")
    kind, _, size = rest.partition(" ")
    if name != entry.id or kind != "blob":
        raise GitFailed(-1, f"{entry.path!r}: {line[:200]!r}")
    if entry.kind is Kind.LINK and int(size) > _WHOLE:
        raise BuildFailed(f"the target of the link {entry.path!r} is {size} bytes long")
    return int(size)


def _copied(blobs: _Blobs, size: int) -> Iterator[bytes | None]:
    left = size
    while left:
        piece = blobs.some(left)
        left -= len(piece)
        yield piece or None
    yield _padding(size)
    while blobs.take(1) is None:
        yield None


async def _read(large: _Large) -> AsyncIterator[bytes]:
    with _opened(large) as file:
        async for piece in _pieces(file, large.pointer.size):
            yield piece


async def _pieces(file: BinaryIO, size: int) -> AsyncIterator[bytes]:
    left = size
    while left and (piece := await asyncio.to_thread(file.read, min(4 * _PIECE, left))):
        left -= len(piece)
        yield piece
    if left:
        raise BuildFailed(f"{file.name} is {left} bytes short")


def _opened_here(path: str, at: Path) -> BinaryIO:
    try:
        return at.open("rb")
    except OSError as exc:
        what = f"{path} cannot be read: {exc.strerror}"
        raise Unavailable(what, hint=f"see {at.parent}; what is missing there is fetched again") from exc


def _opened(large: _Large) -> BinaryIO:
    try:
        return large.path.open("rb")
    except OSError as exc:
        raise BuildFailed(
            f"the remote has no LFS object {large.pointer.id} for {large.entry.path!r}",
            hint="push it with `git lfs push`",
        ) from exc


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
