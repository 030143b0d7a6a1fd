"""Whether one commit of a remote is an ancestor of another. A mirror has no history, so the history is fetched for each question,
without files."""

from dataclasses import replace
from pathlib import Path

from deployd.goal import Head
from deployd.source.git import GitFailed
from deployd.source.mirror import Limits, size_of
from deployd.source.remote import Remote

_SEARCHED = 1000
_FETCHED = "refs/deployd/head"


async def contains(remote: Remote, root: Path, head: Head, commit: str, limits: Limits) -> bool:
    """Whether `commit` is among the last thousand commits up to `head`; False when the history cannot be fetched.

    `root` is a directory for private files.
    """
    with remote.session(root) as session:
        history = session.private / "history"
        form = "sha1" if len(commit) == 40 else "sha256"
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", f"--depth={_SEARCHED}", "--filter=tree:0")
        # A remote needs a name for a filter, and a path cannot be one.
        git = replace(session.on(history), settings={**session.git.settings, "remote.origin.url": remote.url})

        def bounded() -> None:  # a remote that knows no filter sends every file
            if size_of(history) > limits.size:
                raise GitFailed(-1, "larger than git.max_size")

        try:
            await session.git.run("init", "--quiet", "--bare", "--template=", f"--object-format={form}", str(history))
            await git.run(
                "fetch",
                *options,
                "--end-of-options",
                "origin",
                f"{head.ref}:{_FETCHED}",
                timeout=limits.timeout,
                watch=bounded,
            )
            here = (await git.run("rev-list", _FETCHED)).decode().split()
            if not {commit, head.commit} <= set(here):
                return False  # asked about a commit that it lacks, git would fetch that and all its history
            await git.run("merge-base", "--is-ancestor", commit, head.commit)
        except GitFailed:
            return False
    return True
