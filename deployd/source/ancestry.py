"""Whether one commit of a remote is an ancestor of another. A mirror has no history, so the history is fetched for each question,
without files."""

from pathlib import Path

from deployd.domain import Head
from deployd.source.git import GitFailed
from deployd.source.remote import Remote

_SEARCHED = 1000


async def contains(remote: Remote, root: Path, head: Head, commit: str, timeout: float) -> bool:
    """Whether `commit` is among the last thousand commits up to `head`; False when the history cannot be fetched.

    `root` is a directory for private files, `timeout` is in seconds.
    """
    with remote.session(root) as session:
        history = session.private / "history"
        form = "sha1" if len(commit) == 40 else "sha256"
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", f"--depth={_SEARCHED}", "--filter=tree:0")
        git = session.on(history)
        try:
            await session.git.run("init", "--quiet", "--bare", "--template=", f"--object-format={form}", str(history))
            await git.run("fetch", *options, "--end-of-options", remote.url, head.ref, timeout=timeout)
            await git.run("merge-base", "--is-ancestor", commit, head.commit)
        except GitFailed:
            return False
    return True
