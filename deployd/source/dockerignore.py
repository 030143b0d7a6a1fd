"""The files of a build context that a .dockerignore excludes, by Docker's own rules (those of moby's patternmatcher).

Pure. The last pattern that matches a path or a directory above it decides; `!` includes again.
"""

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_SPECIAL = frozenset(".+()|{}$^")


@dataclass(frozen=True, slots=True)
class _Pattern:
    regex: re.Pattern[str]
    exception: bool


@dataclass(slots=True)
class Ignore:
    """The parsed patterns. Ask for a directory before its entries: its result is remembered for them, as in Docker's walk."""

    patterns: tuple[_Pattern, ...] = ()
    _above: dict[str, tuple[bool, ...]] = field(default_factory=dict)

    def ignores(self, path: str, *, directory: bool = False) -> bool:
        """Whether `path` (from the root of the context, with slashes) is excluded."""
        above = self._above.get(path.rpartition("/")[0])
        matched: list[bool] = []
        ignored = False
        for number, pattern in enumerate(self.patterns):
            match = above is not None and above[number]
            # As in moby, a pattern that cannot change the result is not tried, and so does not count for entries below either.
            if not match and pattern.exception == ignored:
                match = pattern.regex.fullmatch(path) is not None
            matched.append(match)
            if match:
                ignored = not pattern.exception
        if directory:
            self._above[path] = tuple(matched)
        return ignored


def parse(text: str) -> Ignore:
    """The patterns of a .dockerignore file. ValueError names the line that is invalid."""
    patterns = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        try:
            pattern = None if line.startswith("#") else _pattern(line.strip())
        except ValueError as exc:
            raise ValueError(f"line {number}: {exc}") from exc
        if pattern is not None:
            patterns.append(pattern)
    return Ignore(tuple(patterns))


def _pattern(line: str) -> _Pattern | None:
    exception = line.startswith("!")
    glob = line[1:].strip() if exception else line
    if not glob:
        if exception:
            raise ValueError("there is no pattern after the !")
        return None
    glob = _clean(glob)
    try:
        return _Pattern(re.compile(_regex(glob), re.ASCII), exception)
    except (re.error, RecursionError, OverflowError) as exc:
        raise ValueError(f"{line!r} is not a pattern") from exc


def _clean(glob: str) -> str:
    """The pattern cleaned as by Go's filepath.Clean, then without the leading slash, which means the root of the context."""
    cleaned = posixpath.normpath(glob)
    cleaned = "/" + cleaned.lstrip("/") if cleaned.startswith("/") else cleaned
    return cleaned[1:] if len(cleaned) > 1 and cleaned.startswith("/") else cleaned


def _regex(glob: str) -> str:
    """The pattern as a regular expression for the whole path."""
    # These two forms match the text, not path segments: in `**.md` and `docs**` a slash is an ordinary character.
    if glob.startswith("**") and not _wild(glob[2:]):
        tail = glob[2:]
        return f"(?s:.*){re.escape(tail)}" + (f"|{re.escape(tail[1:])}" if tail.startswith("/") else "")
    if glob.endswith("**") and not _wild(glob[:-2]):
        return f"{re.escape(glob[:-2])}(?s:.*)"
    return "".join(_tokens(glob))


def _wild(glob: str) -> bool:
    return any(mark in glob for mark in "*?[]\\")


def _tokens(glob: str) -> Iterable[str]:
    position = 0
    while position < len(glob):
        mark, rest = glob[position], glob[position + 1 :]
        position += 1
        if mark == "*" and rest.startswith("*"):
            position += 2 if rest.startswith("*/") else 1
            yield ".*" if position >= len(glob) else "(?:.*/)?"
        elif mark == "\\":
            if not rest:
                raise ValueError("there is nothing to escape after the backslash at the end")
            position += 1
            yield re.escape(rest[0])
        elif mark == "[":
            length = _class_length(rest)
            yield "[" + rest[:length].replace("[", "\\[") + "]"
            position += length + 1
        else:
            yield {"*": "[^/]*", "?": "[^/]"}.get(mark) or (f"\\{mark}" if mark in _SPECIAL else re.escape(mark))


def _class_length(rest: str) -> int:
    """The length of the inside of `[...]`."""
    position = 1 if rest.startswith("^") else 0
    start = position
    while position < len(rest):
        if rest[position] == "]" and position > start:
            return position
        position += 2 if rest[position] == "\\" else 1
    raise ValueError("a [ has no closing ]")


def for_dockerfile(texts: Iterable[tuple[str, bytes | None]]) -> Ignore:
    """The patterns of the first file of `texts` (name, content or None) that exists. ValueError names the file and the line."""
    for name, content in texts:
        if content is not None:
            try:
                return parse(content.decode("utf-8", "surrogateescape"))
            except ValueError as exc:
                raise ValueError(f"{name}: {exc}") from exc
    return Ignore()
