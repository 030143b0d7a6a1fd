"""The patterns of config.toml: which refs an app follows, which files count as changed.

`*` and `?` stop at a slash, `**` does not, `[...]` is one of its characters, everything else is itself.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from pathspec import PathSpec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern


def ref_matches(pattern: str, ref: str) -> bool:
    """Whether `pattern` matches the full `ref`, such as `refs/heads/main`, `refs/heads/release/*` or `refs/tags/v*`."""
    return pattern == ref or _ref(pattern).fullmatch(ref) is not None


def touches(patterns: Sequence[str], paths: Iterable[str]) -> bool:
    """Whether any of `paths` counts. The patterns are those of a `.gitignore`, but they name what counts.

    The last pattern that matches a path decides, and one that starts with `!` takes paths out. Where the first pattern
    starts with `!`, everything else counts.
    """
    return any(True for _ in _files(tuple(patterns)).match_files(paths))


def is_path_pattern(text: str) -> bool:
    """Whether `text` is a pattern that can match a file: not empty, no comment, not malformed."""
    try:
        return _files((text,)).patterns[-1].include is not None
    except (ValueError, re.error, IndexError):
        return False


@lru_cache(maxsize=1024)
def _files(patterns: tuple[str, ...]) -> PathSpec[GitIgnoreSpecPattern]:
    everything = ("**",) if patterns and patterns[0].startswith("!") else ()
    # Neither pathspec's GitIgnoreSpec, where "!docs/" takes nothing out of "**", nor its basic patterns, where "/*" leaves out
    # what is deeper down.
    return PathSpec.from_lines(GitIgnoreSpecPattern, everything + patterns)


@lru_cache(maxsize=1024)
def _ref(pattern: str) -> re.Pattern[str]:
    return re.compile(_translated(pattern), re.DOTALL)


_PART = re.compile(r"(?P<deep>\*\*/)|(?P<all>\*\*)|(?P<some>\*)|(?P<one>\?)|\[(?P<not>!?)(?P<set>[^]/]+)\]", re.DOTALL)


def _translated(pattern: str) -> str:
    parts: list[str] = []
    position = 0
    for match in _PART.finditer(pattern):
        parts += [re.escape(pattern[position : match.start()]), _part(match)]
        position = match.end()
    return "".join([*parts, re.escape(pattern[position:])])


def _part(match: re.Match[str]) -> str:
    match match.lastgroup:
        case "deep":
            return "(?:.*/)?"
        case "all":
            return ".*"
        case "some":
            return "[^/]*"
        case "one":
            return "[^/]"
        case _:
            return _one_of(match)


def _one_of(match: re.Match[str]) -> str:
    among = match["set"].replace("\\", r"\\").replace("^", r"\^").replace("[", r"\[")
    found = f"(?!/)[{'^' if match['not'] else ''}{among}]"
    try:
        re.compile(found)
    except re.error:  # such as [z-a]: then it is plain text, as in a shell
        return re.escape(match[0])
    return found
