"""Collects the files of a build context from all its repositories: the app's own and, if configured, submodules and LFS.

Fetches and lists files; context.py excludes some of them and archive.py makes the tar.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from deployd.config.app import Build
from deployd.errors import BuildFailed
from deployd.ports.log import Log
from deployd.source import tree
from deployd.source.archive import Part
from deployd.source.mirror import Mirror
from deployd.source.remote import Remote
from deployd.source.submodules import Submodule, submodules

_NESTED = 8
_MOST = 200


@dataclass(frozen=True, slots=True)
class Gathering:
    """Collects for one build. `mirror(url, digits)` gives the mirror of a URL whose commit names have `digits` hex digits.

    The fetched commits are kept until `resources` is closed. `mirrors` are those that were used, the app's own first.
    """

    mirror: Callable[[str, int], Mirror]
    build: Build
    log: Log
    resources: ExitStack
    mirrors: list[Mirror] = field(default_factory=list)

    async def all_of(self, remote: Remote, commit: str, watched: str) -> list[Part]:
        """The parts of a context, the app's own repository first. BuildFailed when one of them cannot be fetched."""
        context = self.build.context
        parts = [await self._part(remote, commit, watched, context)]
        submodules = await self._below(parts[0], remote, commit, context)
        for _ in range(_NESTED):
            if not submodules:
                return parts
            submodules = [found for each in submodules for found in await self._add(each, parts)]
        raise BuildFailed(f"submodules are nested deeper than {_NESTED}")

    async def _add(self, submodule: Submodule, parts: list[Part]) -> list[Submodule]:
        """Append the submodule's part; return the submodules inside it."""
        if len(parts) > _MOST:
            raise BuildFailed(f"the commit has more than {_MOST} submodules")
        self.log.write(f"Submodule {submodule.path!r}: {submodule.commit}\n")
        part = await self._part(submodule.remote, submodule.commit, "", ".")
        nested = await self._below(part, submodule.remote, submodule.commit, ".")
        parts.append(replace(part, entries=[entry.below(submodule.path) for entry in part.entries]))
        return [replace(found, path=f"{submodule.path}/{found.path}") for found in nested]

    async def _part(self, remote: Remote, commit: str, watched: str, context: str) -> Part:
        mirror = self.mirror(remote.url, len(commit))
        self.mirrors.append(mirror)
        await mirror.fetch(remote, commit, watched, self.log)
        mirror.kept.hold(commit)
        self.resources.callback(mirror.kept.release, commit)
        lfs = await mirror.fetch_large(remote, commit, self.log) if self.build.lfs else None
        return Part(mirror.git, await tree.listed(mirror.git, commit, context), lfs)

    async def _below(self, part: Part, remote: Remote, commit: str, context: str) -> list[Submodule]:
        if not self.build.submodules:
            return []
        return await submodules(part.git, commit, remote, context, part.entries)
