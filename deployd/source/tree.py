"""Reads a commit from git objects, without a checkout: its tree, single files, its author and time.

Names are checked here: those that could lead out of a tar's root or have a meaning for git are refused.
"""

import asyncio
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from deployd.errors import BuildFailed, Unavailable
from deployd.source.git import Git, GitFailed

_ENTRY = re.compile(rb"([0-7]{6}) [a-z]+ ([0-9a-f]{40,64})\t([^\0]+)\0")
_BLOB = re.compile(rb"([0-9a-f]{40,64}) blob (\d+)")
_DETOUR = re.compile(rb"(dangling|loop|symlink|notdir) (\d+)")
_MOST_ENTRIES = 1_000_000
_FILE = 16 * 1024 * 1024
_SUBJECT, _AUTHOR = 200, 100
_LATEST = 8**11 - 1  # a tar header has eleven octal digits for a time


class Kind(IntEnum):
    """The kind of an entry, by its git mode."""

    DIRECTORY = 0o040000
    FILE = 0o100644
    PROGRAM = 0o100755
    LINK = 0o120000
    SUBMODULE = 0o160000


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a tree: its `path` from the root of the context (invalid UTF-8 as surrogates) and its object's `id`."""

    path: str
    kind: Kind
    id: str

    def below(self, directory: str) -> "Entry":
        """The same entry below `directory`."""
        return replace(self, path=f"{directory}/{self.path}")


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a commit: subject and author, each cleaned and cut to one line, the committer's time in seconds, and the
    message."""

    subject: str
    author: str
    committed_at: int
    message: str


async def listed(git: Git, commit: str, context: str = ".") -> list[Entry]:
    """All entries below directory `context` of `commit`, a directory before its entries. BuildFailed without that directory."""
    name = commit if context == "." else f"{commit}:{context}"
    try:
        listing = await git.run("ls-tree", "-r", "-t", "-z", "--full-tree", "--end-of-options", name, limit=256 << 20)
    except GitFailed as exc:
        if re.search("not a tree object|not a valid object name", exc.error, re.IGNORECASE):
            raise BuildFailed(
                f"there is no directory {context} in {commit}",
                hint="app.build.context is relative to the repository's root",
            ) from exc
        raise damaged(exc) from exc
    return await asyncio.to_thread(lambda: list(_entries(listing)))


async def contents(git: Git, commit: str, *paths: str) -> list[bytes | None]:
    """Files of `commit` by their paths from the root; links are followed only inside the tree. None where there is no such file.

    BuildFailed when one is larger than 16 MiB.
    """
    asked = [path for path in paths if not set(path) & {"\n", "\0"}]
    query = "".join(f"{commit}:{path}\n" for path in asked).encode("utf-8", "surrogateescape")
    try:
        answer = await git.run("cat-file", "--batch-check", "--follow-symlinks", stdin=query)
        found = dict(zip(asked, _blobs(answer, asked), strict=True))
        texts = {
            name: await git.run("cat-file", "blob", name, limit=_FILE) for name in found.values() if name is not None
        }
    except GitFailed as exc:
        raise damaged(exc) from exc
    return [texts.get(found.get(path) or "") for path in paths]


async def facts(git: Git, commit: str) -> Facts:
    """Subject, author, time and message of a fetched commit."""
    form = "--format=%ct%x00%s%x00%an%x00%B"
    try:
        answer = await git.run(
            "show", "--no-patch", "--no-notes", "--no-show-signature", form, "--end-of-options", commit
        )
    except GitFailed as exc:
        raise damaged(exc) from exc
    committed, subject, author, message = answer.decode("utf-8", "replace").split("\0", 3)
    return Facts(
        _one_line(subject, _SUBJECT), _one_line(author, _AUTHOR), min(max(0, int(committed)), _LATEST), message
    )


class Damaged(Unavailable):
    """A fetched object cannot be read: the mirror must be created again."""


def damaged(exc: Exception) -> Damaged:
    """The error for what git reported while it read the mirror."""
    return Damaged(f"the mirror of the repository is damaged: {str(exc)[:300]}", hint="the next try creates it again")


def _entries(listing: bytes) -> Iterator[Entry]:
    taken: set[bytes] = set()
    directories = {b""}
    for match in _ENTRY.finditer(listing):
        mode, name, path = match.groups()
        # A crafted tree may contain a link and also, by a name with a slash, a file behind that link.
        if not _harmless(path) or path in taken or path.rpartition(b"/")[0] not in directories:
            raise BuildFailed(
                f"the commit contains the name {path[:200]!r}, which cannot go into a build context",
                hint="no ordinary git command creates such a tree",
            )
        if len(taken) >= _MOST_ENTRIES:
            raise BuildFailed(f"the commit contains more than {_MOST_ENTRIES} files")
        taken.add(path)
        kind = Kind(int(mode, 8))  # git itself maps any other mode to one of these five
        if kind is Kind.DIRECTORY:
            directories.add(path)
        yield Entry(path.decode("utf-8", "surrogateescape"), kind, name.decode())


def _blobs(answer: bytes, paths: Sequence[str]) -> list[str | None]:
    """The object name of each of `paths`, from the output of `cat-file --batch-check --follow-symlinks`."""
    names: list[str | None] = []
    position = 0
    for path in paths:
        line, _, _ = answer[position:].partition(b"\n")
        position += len(line) + 1
        match = _BLOB.fullmatch(line)
        if match and int(match[2]) > _FILE:
            raise BuildFailed(f"{path} is larger than {_FILE >> 20} MiB")
        names.append(match[1].decode() if match else None)
        # The target of a link follows; newlines in it may look like further answers.
        if detour := _DETOUR.fullmatch(line):
            position += int(detour[2]) + 1
    return names


def _harmless(path: bytes) -> bool:
    return not any(part.lower() in {b"", b".", b"..", b".git"} for part in path.split(b"/"))


def _one_line(text: str, length: int) -> str:
    """`text` without control characters, direction overrides and other invisible characters, cut at `length`."""
    shown = "".join(
        " " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c for c in text if unicodedata.category(c) != "Cf"
    )
    cleaned = " ".join(shown.split())
    return cleaned if len(cleaned) <= length else cleaned[: length - 1] + "…"
