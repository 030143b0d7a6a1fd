"""The present refs of a remote. Callers that ask for the same remote at the same time share one `git ls-remote`.

No answer is cached. Knows nothing of mirrors.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployd.errors import Unavailable
from deployd.source.diagnosis import diagnose
from deployd.source.git import GitFailed
from deployd.source.remote import Remote, Session
from deployd.tasks import stop

_LINE = re.compile(r"([0-9a-f]{40,64})\t(refs/(?:heads|tags)/[^\x00-\x20\x7f]+)")


@dataclass(slots=True)
class _Question:
    answer: "asyncio.Task[Mapping[str, str]]"
    askers: int = 0


class Refs:
    """Asks remotes. `root` is a directory for private files, `timeout` is in seconds."""

    def __init__(self, root: Path, timeout: float) -> None:
        self._root = root
        self._timeout = timeout
        self._asked: dict[Remote, _Question] = {}

    async def of(self, remote: Remote) -> Mapping[str, str]:
        """Every branch and tag of the remote, full ref -> commit (annotated tags peeled). Unavailable with the reason."""
        question = self._asked.get(remote)
        if question is None:
            answer = asyncio.create_task(self._ask(remote), name=f"ls-remote {remote.url}")
            question = self._asked[remote] = _Question(answer)
        question.askers += 1
        try:
            return await asyncio.shield(question.answer)
        finally:
            question.askers -= 1
            if self._asked.get(remote) is question and (question.answer.done() or not question.askers):
                del self._asked[remote]
            if not question.askers and not question.answer.done():
                await stop(question.answer)

    async def _ask(self, remote: Remote) -> Mapping[str, str]:
        with remote.session(self._root) as session:
            try:
                # A pattern would save nothing: the remote sends all branches and tags, and git filters them here.
                answer = await session.git.run(
                    "ls-remote", "--quiet", "--heads", "--tags", "--end-of-options", remote.url, timeout=self._timeout
                )
            except GitFailed as exc:
                found = diagnose(session.clean(exc.error), remote.owner)
                raise Unavailable(found.message, hint=found.hint) from exc
        return peeled(answer.decode("utf-8", "replace"))


def peeled(listing: str) -> Mapping[str, str]:
    """The output of `git ls-remote` as ref -> commit. After the line of an annotated tag comes one with the commit."""
    found: dict[str, str] = {}
    for line in listing.splitlines():
        if match := _LINE.fullmatch(line):
            found[match[2].removesuffix("^{}")] = match[1]
    return found


async def tags_of(session: Session, remote: Remote, commit: str) -> list[str]:
    """The object name of a tag on the remote that points to `commit`, if there is one: any remote sends what it advertises."""
    answer = await session.git.run("ls-remote", "--tags", "--end-of-options", remote.url)
    lines = [match for line in answer.decode("utf-8", "replace").splitlines() if (match := _LINE.fullmatch(line))]
    objects = {match[2]: match[1] for match in lines}
    leading = [ref.removesuffix("^{}") for ref, target in objects.items() if target == commit]
    return [objects[ref] for ref in leading if ref in objects][:1]
