"""The submodules of a tree: their repositories from .gitmodules, their commits from the tree. Fetches nothing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from deployd.errors import BuildFailed
from deployd.source.git import Git, GitFailed
from deployd.source.remote import Remote
from deployd.source.tree import Entry, Kind

_KEY = re.compile(r"submodule\.(.*)\.(path|url)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Submodule:
    """`commit` of `remote` belongs at `path` of the build context."""

    path: str
    remote: Remote
    commit: str


async def submodules(git: Git, commit: str, remote: Remote, context: str, entries: Sequence[Entry]) -> list[Submodule]:
    """The submodules among `entries`, which are relative to `context`. BuildFailed when one has no usable URL."""
    links = [entry for entry in entries if entry.kind is Kind.SUBMODULE]
    urls = await _urls(git, commit) if links else {}
    found = []
    for link in links:
        path = link.path if context == "." else f"{context}/{link.path}"
        if path not in urls:
            raise BuildFailed(
                f"the submodule {path!r} has no URL in .gitmodules",
                hint="add it with `git submodule add`, or set app.build.submodules = false",
            )
        found.append(Submodule(link.path, remote.submodule(urls[path]), link.id))
    return found


async def _urls(git: Git, commit: str) -> dict[str, str]:
    """Path -> URL from .gitmodules, read by git's own parser. No other setting in it is used."""
    try:
        listing = await git.run("config", "--no-includes", f"--blob={commit}:.gitmodules", "--null", "--list")
    except GitFailed as exc:
        raise BuildFailed(
            "the commit has submodules, but .gitmodules cannot be read", hint=exc.error.splitlines()[-1][:300]
        ) from exc
    sections: dict[str, dict[str, str]] = {}
    for item in listing.decode("utf-8", "surrogateescape").split("\0"):
        key, _, value = item.partition("\n")
        if match := _KEY.fullmatch(key):
            sections.setdefault(match[1], {})[match[2]] = value
    return {section["path"]: section["url"] for section in sections.values() if "path" in section and "url" in section}
