"""Large files: recognises LFS pointers, and fetches their files with the host's `git lfs`."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from deployd.errors import BuildFailed
from deployd.ports.log import Log
from deployd.source.git import GitFailed
from deployd.source.remote import Remote, Session

_FIRST = b"version https://git-lfs.github.com/spec/v1\n"
_ID = re.compile(rb"^oid sha256:([0-9a-f]{64})$", re.MULTILINE)
_SIZE = re.compile(rb"^size (\d{1,18})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Pointer:
    """A pointer, which git stores instead of a large file: the SHA-256 of its content and its size in bytes."""

    id: str
    size: int


def pointer(content: bytes) -> Pointer | None:
    """`content` as a pointer; None when it is not one."""
    if not content.startswith(_FIRST):
        return None
    name, size = _ID.search(content), _SIZE.search(content)
    return Pointer(name[1].decode(), int(size[1])) if name and size else None


async def fetch_large(
    session: Session, remote: Remote, directory: Path, commit: str, log: Log, bounds: "Bounds"
) -> Path:
    """Fetch the large files of a fetched `commit` into mirror `directory`; return the directory that holds them by id."""
    git = session.on(directory)
    try:
        await git.run("lfs", "version")
    except GitFailed as exc:
        raise BuildFailed("app.build.lfs needs git-lfs on the host", hint="apt-get install git-lfs") from exc
    # The configured remote is used, not the server that a .lfsconfig in the repository names.
    settings = {
        **git.settings,
        "remote.origin.url": remote.url,
        "lfs.allowincompletepush": "false",
        "lfs.concurrenttransfers": "4",
        "lfs.fetchrecentalways": "false",
    }
    if remote.protocol in {"http", "https"}:
        settings["lfs.url"] = f"{remote.url.removesuffix('/').removesuffix('.git')}.git/info/lfs"
    log.write("Fetching large files\n")
    try:
        await replace(git, settings=settings).run(
            "lfs", "fetch", "origin", commit, timeout=bounds.timeout, watch=bounds.watch
        )
    except GitFailed as exc:
        error = session.clean(exc.error)
        raise BuildFailed(
            f"the large files cannot be fetched: {error[-500:]}", hint=f"try `git lfs fetch` from {remote.url}"
        ) from exc
    return directory / "lfs/objects"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of a fetch: `timeout` in seconds; `watch` raises when the files are too large."""

    timeout: float
    watch: Callable[[], None]
