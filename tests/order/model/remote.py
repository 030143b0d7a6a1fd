"""A remote with one branch: commits, pushes, a replica that shows them late, and times in which it does not answer."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Literal

from deployd.config.app import App
from deployd.errors import RequestRefused, Unavailable
from deployd.goal import Head
from deployd.ports.log import Log
from deployd.ports.source import CommitFacts, Context
from tests.fakes import FakeContext
from tests.order.model.clock import now

MAIN = "refs/heads/main"

Fault = Literal["", "build", "gate"]


@dataclass
class Commit:
    """`files`: path -> what stands in it. `fault`: where its deploy fails; `healed`: it does not any more."""

    sha: str
    parent: str | None
    files: Mapping[str, int]
    message: str
    fault: Fault = ""
    healed: bool = False


class Remote:
    """Implements ports.Source as if git stood behind it."""

    def __init__(self, answer_s: float) -> None:
        self.answer_s = answer_s
        self.commits: dict[str, Commit] = {}
        self.lost: set[str] = set()
        self.away_until = -inf
        self.shows: list[tuple[float, str | None]] = [(-inf, None)]  # from when on the branch is seen to be where
        self.refused = 0  # in a row
        # The heads that each app was told of, since its last decision.
        self.answers: defaultdict[str, list[str | None]] = defaultdict(list)

    @property
    def main(self) -> str | None:
        """Where the branch is."""
        return self.shows[-1][1]

    def push(self, commit: str | None, late_by: float) -> None:
        """Move the branch, or delete it; what answers shows that `late_by` seconds later."""
        self.shows.append((max(now() + late_by, self.shows[-1][0]), commit))

    def write(self, parent: str | None, paths: frozenset[str], message: str, fault: Fault) -> Commit:
        """A new commit that changes the files at `paths`."""
        number = len(self.commits) + 1
        before = self.commits[parent].files if parent else {}
        files = {**before, **dict.fromkeys(paths, number)}
        commit = Commit(f"{number:x}".rjust(40, "c"), parent, files, message, fault)
        self.commits[commit.sha] = commit
        return commit

    def shown(self) -> str | None:
        """Where the branch is seen to be now."""
        return next(commit for since, commit in reversed(self.shows) if since <= now())

    def shown_since(self) -> float:
        """From when on everybody sees where the branch is."""
        return self.shows[-1][0]

    def forget(self) -> None:
        """Collect the commits that the branch does not hold any more."""
        self.lost = self.commits.keys() - self.before(self.main)

    def before(self, commit: str | None) -> set[str]:
        """A commit and its ancestors."""
        found = set()
        while commit is not None:
            found.add(commit)
            commit = self.commits[commit].parent
        return found

    def differ(self, before: str, after: str) -> frozenset[str] | None:
        """The paths that differ; None when a commit is lost."""
        if {before, after} & self.lost:
            return None
        old, new = self.commits[before].files, self.commits[after].files
        return frozenset(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))

    async def heads(self, app: App) -> Mapping[str, str]:
        self.refused += 1
        await self.ping(app)
        self.refused = 0
        commit = self.shown()
        self.answers[app.name].append(commit)
        return {MAIN: commit} if commit else {}

    async def resolve(self, app: App, name: str) -> str:
        await self.ping(app)
        if name not in self.commits.keys() - self.lost:
            raise RequestRefused(404, f"the remote has no {name}")
        return name

    async def fetch(self, app: App, commit: str, ref: str, log: Log) -> Context:
        await self.ping(app)
        return FakeContext(commit)

    async def changed(self, app: App, before: str, after: str) -> frozenset[str] | None:
        await self.ping(app)
        return self.differ(before, after)

    async def facts(self, app: App, head: Head) -> CommitFacts:
        await self.ping(app)
        message = self.commits[head.commit].message
        return CommitFacts(message, message, "Ada")

    async def contains(self, app: App, head: Head, commit: str) -> bool:
        await self.ping(app)
        return commit in self.before(head.commit)

    async def ping(self, app: App) -> None:
        await asyncio.sleep(self.answer_s)
        if now() < self.away_until:
            raise Unavailable(f"{app.repo} is away")
