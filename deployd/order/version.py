"""Versions of tags, to find the highest: PEP 440 and SemVer, after any prefix before the first digit. Pure.

Source: packaging.python.org/specifications/version-specifiers, semver.org 2.0.0 (rule 11).
"""

import re
from functools import total_ordering

from packaging.version import InvalidVersion
from packaging.version import Version as Pep440

_SEMVER = re.compile(r"(\d+)\.(\d+)\.(\d+)-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)(?:\+[0-9A-Za-z.-]+)?")
_DIGIT = re.compile(r"\d")


@total_ordering
class Version:
    """One version; `1.0-rc1`, `1.0rc1` and `1.0.0-rc.1` are the same."""

    def __init__(self, base: Pep440, identifiers: tuple[str, ...] = ()) -> None:
        """`identifiers`: a SemVer pre-release of `base` that PEP 440 cannot express, such as `nightly.3`."""
        self._base = base
        self._pre = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in identifiers)

    def _key(self) -> tuple[Pep440, tuple[tuple[int, int, str], ...]]:
        # `1.0.0.dev0` comes before every other pre-release of 1.0.0.
        return (Pep440(f"{self._base.base_version}.dev0") if self._pre else self._base), self._pre

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key() == other._key()

    def __lt__(self, other: "Version") -> bool:
        return self._key() < other._key()

    def __hash__(self) -> int:
        return hash(self._key())


def version_of(ref: str) -> Version | None:
    """The version that a tag names (`refs/tags/v1.10`, `refs/tags/iris-2.0rc1`); None when it names none."""
    name = ref.rpartition("/")[2]
    if (digit := _DIGIT.search(name)) is None:
        return None
    text = name[digit.start() :]
    try:
        return Version(Pep440(text))
    except InvalidVersion:
        pass
    if (match := _SEMVER.fullmatch(text)) is None:
        return None
    return Version(Pep440(".".join(match.groups()[:3])), tuple(match[4].split(".")))
