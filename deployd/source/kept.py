"""Which commits of a mirror are kept, and in what order they were last asked for: refs/deployd/<number>-<commit>.

A ref keeps a commit from being collected as rubbish, and tells the remote what it need not send again. It fetches nothing.
"""

import re
from collections import Counter

from deployd.source.git import Git

_MOST = 20
_REF = re.compile(r"refs/deployd/(\d{10})-([0-9a-f]{40,64})")


class Kept:
    """The kept commits of the repository that `git` works on. Only one at a time may call its coroutines."""

    def __init__(self, git: Git) -> None:
        self._git = git
        self._numbers: dict[str, int] = {}
        self._held: Counter[str] = Counter()

    def __contains__(self, commit: str) -> bool:
        return commit in self._numbers

    def oldest_first(self) -> list[str]:
        """The commits, by when they were last asked for."""
        return sorted(self._numbers, key=lambda commit: self._numbers[commit])

    def hold(self, commit: str) -> None:
        """Keep `commit` until as many calls of `release`, however many others come."""
        self._held[commit] += 1

    def release(self, commit: str) -> None:
        """One use of `commit` has ended."""
        self._held[commit] -= 1
        self._held += Counter()

    def forget(self) -> None:
        """The repository is a new, empty one."""
        self._numbers = {}

    async def load(self) -> None:
        """Read what is kept. GitFailed when the repository is none."""
        refs = (await self._git.run("for-each-ref", "--format=%(refname)", "refs/deployd")).decode()
        self._numbers = {match[2]: int(match[1]) for match in _REF.finditer(refs)}

    async def add(self, commit: str) -> None:
        """Make `commit` the newest, and let go of the oldest ones that nobody holds."""
        number = max(self._numbers.values(), default=0) + 1
        free = [other for other in self.oldest_first() if other != commit and other not in self._held]
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
