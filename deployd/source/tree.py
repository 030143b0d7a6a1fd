"""What a commit holds, read from git objects: its tree, single files, who wrote it and when. No checkout, no attributes.

Names are checked here: what could leave the root of a tar, or mean something to git, does not get further.
"""

import asyncio
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from deployd.errors import BuildFailed, Unavailable
from deployd.source.git import Git, GitFailed

_ENTRY = re.compile(rb"([0-7]{6}) [a-z]+ ([0-9a-f]{40,64})\t([^\0]+)\0")
_MOST_ENTRIES = 1_000_000
_FILE = 16 * 1024 * 1024
_SUBJECT, _AUTHOR = 200, 100
_LATEST = 8**11 - 1  # a tar header has eleven octal digits for it


class Kind(IntEnum):
    """What git's mode says an entry is."""

    DIRECTORY = 0o040000
    FILE = 0o100644
    PROGRAM = 0o100755
    LINK = 0o120000
    SUBMODULE = 0o160000


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a tree. `path` is from the root of the context (what is no UTF-8 as surrogates), `id` the object's."""

    path: str
    kind: Kind
    id: str

    def below(self, directory: str) -> "Entry":
        """The same, a directory further down."""
        return replace(self, path=f"{directory}/{self.path}")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a commit says of itself: subject and author cleaned and cut for one line, the committer's clock in seconds."""

    subject: str
    author: str
    committed_at: int


async def listed(git: Git, commit: str, context: str = ".") -> list[Entry]:
    """Everything below directory `context` of `commit`, a directory before what is in it. BuildFailed when there is none."""
    name = commit if context == "." else f"{commit}:{context}"
    try:
        listing = await git.run("ls-tree", "-r", "-t", "-z", "--full-tree", "--end-of-options", name, limit=256 << 20)
    except GitFailed as exc:
        if re.search("not a tree object|not a valid object name", exc.complaint, re.IGNORECASE):
            raise BuildFailed(
                f"there is no directory {context} in {commit}",
                hint="app.build.context is taken from the repository's root",
            ) from exc
        raise damaged(exc) from exc
    return await asyncio.to_thread(lambda: list(_entries(listing)))


async def content(git: Git, commit: str, path: str, limit: int = _FILE) -> bytes | None:
    """A file of `commit` by its path from the root, links followed inside the tree only; None when there is no such file.

    BuildFailed when it is larger than `limit` bytes.
    """
    if "\n" in path or "\0" in path:
        return None
    query = f"{commit}:{path}\n".encode("utf-8", "surrogateescape")
    try:
        answer = await git.run("cat-file", "--batch-check", "--follow-symlinks", stdin=query)
        found = re.fullmatch(rb"([0-9a-f]{40,64}) blob (\d+)\n", answer)
        if found is None:
            return None
        if int(found[2]) > limit:
            raise BuildFailed(f"{path} is larger than {limit} bytes")
        return await git.run("cat-file", "blob", found[1].decode(), limit=limit)
    except GitFailed as exc:
        raise damaged(exc) from exc


async def facts(git: Git, commit: str) -> Facts:
    """Subject, author and time of a commit that was fetched."""
    form = "--format=%ct%x00%s%x00%an"
    try:
        answer = await git.run(
            "show", "--no-patch", "--no-notes", "--no-show-signature", form, "--end-of-options", commit
        )
    except GitFailed as exc:
        raise damaged(exc) from exc
    committed, subject, author = answer.decode("utf-8", "replace").split("\0", 2)
    return Facts(_one_line(subject, _SUBJECT), _one_line(author, _AUTHOR), min(max(0, int(committed)), _LATEST))


def damaged(exc: Exception) -> Unavailable:
    """What was fetched cannot be read."""
    return Unavailable(
        f"the mirror of the repository is damaged: {str(exc)[:300]}", hint="it is made anew with the next try"
    )


def _entries(listing: bytes) -> Iterator[Entry]:
    taken: set[bytes] = set()
    directories = {b""}
    for match in _ENTRY.finditer(listing):
        mode, name, path = match.groups()
        # A crafted tree may hold a link and, by a name with a slash in it, a file behind that link.
        if not _harmless(path) or path in taken or path.rpartition(b"/")[0] not in directories:
            raise BuildFailed(
                f"the commit holds the name {path[:200]!r}, which cannot go into a build context",
                hint="no ordinary git command makes such a tree",
            )
        if len(taken) >= _MOST_ENTRIES:
            raise BuildFailed(f"the commit holds more than {_MOST_ENTRIES} files")
        taken.add(path)
        kind = _kind(int(mode, 8))
        if kind is Kind.DIRECTORY:
            directories.add(path)
        yield Entry(path.decode("utf-8", "surrogateescape"), kind, name.decode())


def _kind(mode: int) -> Kind:
    """Old repositories hold modes such as 100664."""
    if mode & 0o170000 == 0o100000:
        return Kind.PROGRAM if mode & 0o100 else Kind.FILE
    try:
        return Kind(mode)
    except ValueError as exc:
        raise BuildFailed(f"the commit holds an entry of the unknown mode {mode:o}") from exc


def _harmless(path: bytes) -> bool:
    return not any(part.lower() in {b"", b".", b"..", b".git"} for part in path.split(b"/"))


def _one_line(text: str, length: int) -> str:
    """Without control characters, direction overrides and other things that fool a terminal or a reader."""
    shown = "".join(
        " " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c for c in text if unicodedata.category(c) != "Cf"
    )
    cleaned = " ".join(shown.split())
    return cleaned if len(cleaned) <= length else cleaned[: length - 1] + "…"
