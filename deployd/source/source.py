"""Implements ports.Source with git: the heads of remotes, their commits (through mirrors), and build contexts.

Ties the other files of this package together; only this one knows apps. Of a webhook's payload only the commit name reaches a
git command: URLs and refs come from the configuration or from the remote.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from deployd.config.app import App
from deployd.config.daemon import Git as GitConfig
from deployd.config.globs import ref_matches
from deployd.errors import BuildFailed, RequestRefused, Unavailable
from deployd.goal import Head
from deployd.ports.log import Log
from deployd.ports.source import CommitFacts
from deployd.source import tree
from deployd.source.ancestry import contains
from deployd.source.context import CommitContext, Origin, open_context, recreated_if_damaged
from deployd.source.gathering import Gathering
from deployd.source.git import GitFailed
from deployd.source.mirror import Limits, Mirror
from deployd.source.refs import Refs
from deployd.source.remote import Remote

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SHORT = re.compile(r"[0-9a-f]{4,63}")
_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)
_UNUSED_S = 30 * 86400.0


class GitSource:
    """Commits of git repositories. Nothing else may use `directory`. Use it as an async context manager.

    `waits` are the seconds between the attempts to fetch a commit that the remote does not have yet.
    """

    def __init__(self, config: GitConfig, directory: Path, waits: Sequence[float] = _WAITS) -> None:
        self._allow_file = config.allow_file
        self._directory = directory.absolute()
        self._limits = Limits(config.timeout, config.max_size, waits)
        self._refs = Refs(self._directory, config.timeout)
        self._mirrors: dict[tuple[str, int], Mirror] = {}

    async def __aenter__(self) -> Self:
        with _disk_errors():
            _prepare(self._directory)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for mirror in self._mirrors.values():
            await mirror.close()

    async def heads(self, app: App) -> Mapping[str, str]:
        """The remote's refs that `app` watches, full ref -> commit; see ports.Source."""
        found = await self._all_refs(app)
        return {ref: commit for ref, commit in found.items() if ref_matches(app.ref, ref)}

    async def resolve(self, app: App, name: str) -> str:
        """The commit that a person means; see ports.Source. A short name is searched among heads, tags and kept commits."""
        name = name.strip()
        refs = await self._all_refs(app)
        for ref in (name, f"refs/heads/{name}", f"refs/tags/{name}"):
            if ref in refs:
                return refs[ref]
        if _COMMIT.fullmatch(name.lower()):
            return await self._known(app, name.lower())
        kept = await self._mirror(app.repo, 40).commits()
        matching = {commit for commit in (*refs.values(), *kept) if commit.startswith(name.lower())}
        if not _SHORT.fullmatch(name.lower()) or len(matching) != 1:
            none = "no branch, tag or recent commit"
            what, match = (f"{len(matching)} commits", "match") if len(matching) > 1 else (none, "matches")
            raise RequestRefused(
                404, f"{what} of {app.name}'s repository {match} {name[:100]!r}", hint="give the full SHA of the commit"
            )
        return matching.pop()

    async def fetch(self, app: App, commit: str, ref: str, log: Log) -> CommitContext:
        """Exactly `commit`; see ports.Source. `ref` is only for the log."""
        if not _COMMIT.fullmatch(commit):
            raise BuildFailed(f"{commit[:100]!r} is not a full commit SHA")
        log.write(f"Fetching {commit} of {ref!r}\n")
        remote = self._remote(app)
        with _disk_errors(), ExitStack() as resources:
            gathering = Gathering(self._mirror, app.build, log, resources)
            with recreated_if_damaged(gathering.mirrors):
                parts = await gathering.all_of(remote, commit, app.ref)
                facts = await tree.facts(parts[0].git, commit)
                origin = Origin(gathering.mirrors, commit, facts.committed_at, self._limits.size)
                return await open_context(origin, app.build, parts, log, resources)

    async def changed(self, app: App, before: str, after: str) -> frozenset[str] | None:
        """The paths that differ between two commits; see ports.Source. A moved file counts with both its paths."""
        if len(before) != len(after):
            return None
        try:
            commits = [await self._known(app, commit) for commit in (before, after)]
            git = self._mirror(app.repo, len(after)).git
            listed = await git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", *commits)
        except (RequestRefused, GitFailed):
            return None
        return frozenset(os.fsdecode(path) for path in listed.split(b"\0") if path)

    async def facts(self, app: App, head: Head) -> CommitFacts:
        """Message, subject and author of a commit; see ports.Source."""
        mirror = self._mirror(app.repo, len(head.commit))
        with _disk_errors(), recreated_if_damaged([mirror]):
            await mirror.fetch(self._remote(app), head.commit, app.ref, _Silent(), patient=False)
            found = await tree.facts(mirror.git, head.commit)
        return CommitFacts(found.message, found.subject, found.author)

    async def contains(self, app: App, head: Head, commit: str) -> bool:
        """Whether `commit` is an ancestor of `head`; see ports.Source. False when the remote cannot tell."""
        if len(commit) != len(head.commit) or not _COMMIT.fullmatch(commit):
            return False
        with _disk_errors():
            return await contains(self._remote(app), self._directory, head, commit, self._limits)

    async def ping(self, app: App) -> None:
        """The remote answers and has the watched branch or tag; else Unavailable with the reason."""
        if not await self.heads(app):
            raise Unavailable(
                f"{app.repo} has no {app.ref}",
                hint=f"push it, or change app.{app.name}.{'branch' if app.branch else 'tag'}",
            )

    async def _all_refs(self, app: App) -> Mapping[str, str]:
        with _disk_errors():
            return await self._refs.of(self._remote(app))

    async def _known(self, app: App, commit: str) -> str:
        """Fetch `commit`, which is needed later anyway; RequestRefused 404 when the remote does not have it."""
        try:
            with _disk_errors():
                mirror = self._mirror(app.repo, len(commit))
                await mirror.fetch(self._remote(app), commit, app.ref, _Silent(), patient=False)
        except BuildFailed as exc:
            raise RequestRefused(404, f"{app.name}'s repository has no commit {commit}", hint=exc.hint) from exc
        return commit

    def _remote(self, app: App) -> Remote:
        return Remote.of(app, allow_file=self._allow_file)

    def _mirror(self, url: str, digits: int) -> Mirror:
        key = (url, digits)
        if key not in self._mirrors:
            self._mirrors[key] = Mirror(self._directory, url, digits, self._limits)
        return self._mirrors[key]


class _Silent:
    """A log that drops everything, for fetches that belong to no deploy."""

    def write(self, text: str) -> None:
        """Drop it."""

    def hide(self, secret: str) -> None:
        """Nothing to hide."""

    def redact(self, text: str) -> str:
        """`text` unchanged."""
        return text

    def tail(self, lines: int = 10) -> str:  # noqa: ARG002 - the port's signature
        """Always empty."""
        return ""


def _prepare(directory: Path) -> None:
    """Remove the remains of a killed daemon, and mirrors that were not used for a month."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in directory.iterdir():
        unused = path.suffix == ".git" and time.time() - _used_at(path) > _UNUSED_S
        if path.name.startswith(("session-", "new-", "old-")) or unused:
            shutil.rmtree(path, ignore_errors=True)


def _used_at(mirror: Path) -> float:
    """When a commit was last fetched or used; both write to these directories."""
    directories = (mirror, mirror / "objects/pack", mirror / "refs/deployd")
    return max(directory.stat().st_mtime if directory.is_dir() else 0.0 for directory in directories)


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise Unavailable(
            f"the git mirrors cannot be written: {exc.strerror or exc}", hint="check the disk under server.state_dir"
        ) from exc
