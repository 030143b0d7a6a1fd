"""The commits that a mirror keeps, ordered by their last use, as refs: refs/deployd/<number>-<commit>.

A ref protects a commit from garbage collection, and tells the remote what it need not send again. Fetches nothing.
"""

import re
from collections import Counter

from deployd.source.git import Git

_MOST = 20
_REF = re.compile(r"refs/deployd/(\d{10})-([0-9a-f]{40,64})")


class KeptCommits:
    """The kept commits of the repository that `git` works on. Its coroutines must not run at the same time."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._numbers: dict[str, int] = {}
        self._in_use: Counter[str] = Counter()

    def __contains__(self, commit: str) -> bool:
        return commit in self._numbers

    def oldest_first(self) -> list[str]:
        """The commits, by their last use."""
        return sorted(self._numbers, key=lambda commit: self._numbers[commit])

    def hold(self, commit: str) -> None:
        """Protect `commit` from removal; each call needs one call of `release`."""
        self._in_use[commit] += 1

    def release(self, commit: str) -> None:
        """Undo one call of `hold`."""
        self._in_use[commit] -= 1
        self._in_use += Counter()

    def forget(self) -> None:
        """Start again with no commit: the repository is new."""
        self._numbers = {}

    async def load(self) -> None:
        """Read the refs. GitFailed when there is no repository."""
        refs = (await self._git.run("for-each-ref", "--format=%(refname)", "refs/deployd")).decode()
        self._numbers = {match[2]: int(match[1]) for match in _REF.finditer(refs)}

    async def add(self, commit: str) -> None:
        """Make `commit` the newest, and drop the oldest beyond the limit that are not in use."""
        number = max(self._numbers.values(), default=0) + 1
        free = [other for other in self.oldest_first() if other != commit and other not in self._in_use]
        too_many = max(0, len(self._numbers.keys() | {commit}) - _MOST)
        gone = free[:too_many] + [commit] * (commit in self._numbers)
        lines = [
            f"create {_ref(number, commit)} {commit}",
            *(f"delete {_ref(self._numbers[old], old)}" for old in gone),
        ]
        await self._git.run("update-ref", "--stdin", stdin="".join(f"{line}\n" for line in lines).encode())
        self._numbers = {kept: at for kept, at in self._numbers.items() if kept not in gone} | {commit: number}


def _ref(number: int, commit: str) -> str:
    return f"refs/deployd/{number:010d}-{commit}"
