"""The bare mirror of one repository. It fetches single commits without history, and keeps the latest and those in use.

A mirror is only a cache: when it is damaged (a truncated pack, a fetch that was killed) or too large, it is created again. The
first commit costs its whole tree, the next one only what changed. Knows nothing of apps.
"""

import asyncio
import contextlib
import hashlib
import itertools
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployd.errors import BuildFailed, Unavailable
from deployd.ports.log import Log
from deployd.source.diagnosis import Cause, Diagnosis, diagnose
from deployd.source.git import Git, GitFailed, GitTimedOut
from deployd.source.kept_commits import KeptCommits
from deployd.source.lfs import Bounds, fetch_large
from deployd.source.refs import tags_of
from deployd.source.remote import Remote, Session
from deployd.tasks import stop

_log = logging.getLogger(__name__)

_PACKS = 24
_SEARCHED = 1000
_LOCAL_S = 120.0
_PASSING = {Cause.ABSENT, Cause.UNADVERTISED, Cause.NETWORK}


@dataclass(frozen=True, slots=True)
class Limits:
    """`timeout` of one git command, and `waits` between attempts, in seconds; `size` of a mirror in bytes."""

    timeout: float
    size: int
    waits: Sequence[float]


class _TooLarge(Exception):
    """The objects exceed git.max_size."""


class _NotFetched(Exception):
    """One attempt failed; `again`: another one may succeed."""

    def __init__(self, diagnosis: Diagnosis, *, again: bool) -> None:
        super().__init__(diagnosis.message)
        self.diagnosis = diagnosis
        self.again = again


class Mirror:
    """The objects of one remote repository, below `root`. Its commit names have `digits` hex digits, 40 or 64."""

    def __init__(self, root: Path, url: str, digits: int, limits: Limits) -> None:
        slug = re.sub(r"[^a-z0-9]+", "-", url.removesuffix(".git").rsplit(":", 1)[-1].lower()).strip("-")[-40:]
        name = f"{slug.strip('-')}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
        self.directory = root / (f"{name}.git" if digits == 40 else f"{name}-sha256.git")
        self._format = "sha1" if digits == 40 else "sha256"
        self._root = root
        self._limits = limits
        self._git = Git(self.directory)
        self._lock = asyncio.Lock()
        self.kept = KeptCommits(self._git)
        self._opened = self._suspected = False
        self._tidying: asyncio.Task[None] | None = None

    @property
    def git(self) -> Git:
        """Git on the mirror, without access to the network."""
        return self._git

    def suspect(self) -> None:
        """Let the next fetch create the mirror again: something that was fetched cannot be read."""
        self._suspected = True

    async def commits(self) -> list[str]:
        """The kept commits, oldest first."""
        if not self._opened:
            async with self._exclusive():
                await self._open()
        return self.kept.oldest_first()

    async def fetch(self, remote: Remote, commit: str, watched: str, log: Log, *, patient: bool = True) -> None:
        """Fetch `commit` with its whole tree, unless it is here. BuildFailed when the remote does not have it, else Unavailable.

        `watched` is the configured ref (or a pattern) that should lead to it, for remotes that do not send commits by name.
        """
        waits = iter(self._limits.waits if patient else ())
        while True:
            try:
                async with self._exclusive():
                    await self._fetch(remote, commit, watched, log)
                break
            except _NotFetched as failed:
                wait = next(waits, None)
                if not failed.again or wait is None:
                    raise _error(failed.diagnosis) from failed
                log.write(f"{failed.diagnosis.message}; trying again in {wait:g} s\n")
            await asyncio.sleep(wait)
        self._tidy()

    async def fetch_large(self, remote: Remote, commit: str, log: Log) -> Path:
        """Fetch the large files (LFS) of a fetched commit; return their directory."""
        bounds = Bounds(self._limits.timeout, self._watch)
        async with self._exclusive():
            with remote.session(self._root) as session:
                try:
                    return await fetch_large(session, remote, self.directory, commit, log, bounds)
                except _TooLarge as exc:
                    shutil.rmtree(self.directory / "lfs", ignore_errors=True)
                    raise _too_large(self._limits) from exc

    async def close(self) -> None:
        """Stop the garbage collection in the background."""
        if self._tidying is not None:
            await stop(self._tidying)

    async def _fetch(self, remote: Remote, commit: str, watched: str, log: Log) -> None:
        await self._open()
        try:
            if not await self._has(commit):
                await self._download(remote, commit, watched, log)
                await self.kept.add(commit)
        except (GitFailed, _TooLarge) as exc:
            if (found := diagnose(str(exc), remote.owner)).cause is Cause.FULL:
                raise _NotFetched(found, again=False) from exc
            log.write(f"The mirror is created again: {exc}\n")
            await self._recreate()
            try:
                await self._download(remote, commit, watched, log)
                await self.kept.add(commit)
            except _TooLarge as too_large:
                raise _too_large(self._limits) from too_large
            except GitFailed as failed:
                raise _NotFetched(diagnose(failed.error, remote.owner), again=False) from failed

    async def _has(self, commit: str) -> bool:
        """Whether `commit` is kept. GitFailed when some of its objects are missing, as after a crash."""
        if commit not in self.kept:
            return False
        await self._git.run("rev-list", "--objects", "--quiet", "--end-of-options", commit, timeout=_LOCAL_S)
        await self.kept.add(commit)
        return True

    async def _download(self, remote: Remote, commit: str, watched: str, log: Log) -> None:
        started, before = time.monotonic(), self._size()
        with remote.session(self._root) as session:
            for secret in session.secrets:
                log.hide(secret)
            try:
                await self._git_fetch(session, remote, commit)
            except _NotFetched as failed:
                if failed.diagnosis.cause is not Cause.UNADVERTISED:
                    raise
                await self._fetch_by_ref(session, remote, commit, watched)
        if (kind := await self._kind(commit)) != "commit":
            raise _NotFetched(Diagnosis(Cause.ABSENT, f"{commit} on the remote is a {kind}, not a commit"), again=False)
        size = max(0, self._size() - before) / 1e6
        log.write(
            f"Fetched {commit} from {session.clean(remote.url)}: {size:.1f} MB in {time.monotonic() - started:.1f} s\n"
        )

    async def _git_fetch(self, session: Session, remote: Remote, *wanted: str, depth: int = 1) -> None:
        """One `git fetch` of commits or refs. It writes only objects, no ref and no FETCH_HEAD."""
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", f"--depth={depth}")
        arguments = ("fetch", *options, "--end-of-options", remote.url, *wanted)
        try:
            await session.on(self.directory).run(*arguments, timeout=self._limits.timeout, watch=self._watch)
        except GitFailed as exc:
            self._clear()
            error = session.clean(exc.error)
            found = diagnose(error, remote.owner)
            if found.cause is Cause.UNKNOWN:
                raise GitFailed(exc.code, error) from exc
            raise _NotFetched(found, again=found.cause in _PASSING and not isinstance(exc, GitTimedOut)) from exc
        except BaseException:
            self._clear()
            raise

    async def _fetch_by_ref(self, session: Session, remote: Remote, commit: str, watched: str) -> None:
        """Fetch through the watched branch or the tag of the commit, for remotes that send only what they advertise."""
        if watched.startswith("refs/tags/"):
            wanted = await tags_of(session, remote, commit)
        else:
            wanted = ["HEAD" if set(watched) & set("*?[") or not watched else watched]
        if wanted:
            await self._git_fetch(session, remote, *wanted, depth=_SEARCHED)
        if await self._kind(commit) == "missing":
            found = Diagnosis(
                Cause.ABSENT,
                f"the remote sends only its refs, and {commit} is not among the last {_SEARCHED} commits there",
                "set uploadpack.allowAnySHA1InWant on the remote, or deploy a newer commit",
            )
            raise _NotFetched(found, again=True)

    async def _kind(self, name: str) -> str:
        """`commit`, `tag`, `tree`, `blob` or `missing`."""
        answer = await self._git.run("cat-file", "--batch-check=%(objecttype)", stdin=f"{name}\n".encode())
        return answer.decode().split()[-1]

    @contextlib.asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[None]:
        """Hold the mirror, for which a garbage collection is stopped."""
        await self.close()
        async with self._lock:
            yield

    async def _open(self) -> None:
        if self._suspected:
            await self._recreate()
        if self._opened:
            return
        try:
            self._clear()
            await self.kept.load()
        except GitFailed:
            await self._recreate()
        self._opened = True

    async def _recreate(self) -> None:
        """Replace whatever is there by a new, empty mirror, in one rename."""
        fresh = Path(tempfile.mkdtemp(prefix="new-", dir=self._root))
        options = ("--quiet", "--bare", "--template=", f"--object-format={self._format}")
        try:
            await Git().run("init", *options, "--", str(fresh))
        except GitFailed as exc:
            shutil.rmtree(fresh, ignore_errors=True)
            raise Unavailable(
                f"the mirror cannot be created: {exc.error[-300:]}", hint="check the disk under server.state_dir"
            ) from exc
        await asyncio.to_thread(self._replace_by, fresh)
        self._suspected = False
        self.kept.forget()

    def _replace_by(self, fresh: Path) -> None:
        old = fresh.with_name(fresh.name.replace("new-", "old-"))
        if self.directory.exists():
            self.directory.rename(old)
        fresh.rename(self.directory)
        shutil.rmtree(old, ignore_errors=True)

    def _clear(self) -> None:
        """Remove the files that a killed git leaves. Only called while none of our git commands writes here."""
        packs = self.directory / "objects/pack"
        for stale in itertools.chain(self.directory.rglob("*.lock"), packs.glob("tmp_*"), packs.glob(".tmp-*")):
            stale.unlink(missing_ok=True)

    def _watch(self) -> None:
        if self._size() > self._limits.size:
            raise _TooLarge("larger than git.max_size")

    def _size(self) -> int:
        return size_of(self.directory / "objects/pack") + size_of(self.directory / "lfs")

    def _tidy(self) -> None:
        """Pack the mirror again in the background: every fetch adds a pack, and many packs make every command slow."""
        if len(list((self.directory / "objects/pack").glob("*.pack"))) > _PACKS:
            self._tidying = asyncio.create_task(self._collect(), name=f"tidy {self.directory.name}")

    async def _collect(self) -> None:
        async with self._lock:
            try:
                await self._git.run("gc", "--quiet", "--prune=now", timeout=self._limits.timeout)
            except GitFailed as exc:
                _log.info("The mirror %s cannot be packed again: %s", self.directory.name, exc.error)
            finally:
                self._clear()


def size_of(directory: Path) -> int:
    """The bytes of all files below a directory, in which git may be writing."""
    found = 0
    for place, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found += Path(place, name).stat().st_size
    return found


def _too_large(limits: Limits) -> BuildFailed:
    return BuildFailed(
        f"the repository is larger than git.max_size ({limits.size} bytes)",
        hint="raise max_size in [git], or make the commit smaller",
    )


def _error(found: Diagnosis) -> BuildFailed | Unavailable:
    kind = BuildFailed if found.cause in {Cause.ABSENT, Cause.UNADVERTISED} else Unavailable
    return kind(found.message, hint=found.hint)
