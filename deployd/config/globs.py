"""The patterns of config.toml: which refs an app follows, which files count as touched.

`*` and `?` stop at a slash, `**` does not, `[...]` is one of its characters, everything else is itself.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache


def ref_matches(pattern: str, ref: str) -> bool:
    """Whether the full `ref` is meant by `pattern`, such as `refs/heads/main`, `refs/heads/release/*` or `refs/tags/v*`."""
    return pattern == ref or _ref(pattern).fullmatch(ref) is not None


def touches(patterns: Sequence[str], paths: Iterable[str]) -> bool:
    """Whether any of `paths` counts, by rules as in a `.gitignore` turned around.

    The last pattern that matches a path decides, and one that starts with `!` takes paths out. A pattern with a slash in
    front or inside starts at the root, any other matches in every directory; one that names a directory means all below
    it. Where the first pattern starts with `!`, everything else is in.
    """
    rules = _rules(tuple(patterns))
    return any(_counts(rules, path) for path in paths)


_Rules = tuple[tuple[bool, re.Pattern[str]], ...]


def _counts(rules: _Rules, path: str) -> bool:
    return next((wanted for wanted, rule in rules if rule.fullmatch(path)), False)


@lru_cache(maxsize=1024)
def _ref(pattern: str) -> re.Pattern[str]:
    return re.compile(_translated(pattern), re.DOTALL)


@lru_cache(maxsize=1024)
def _rules(patterns: tuple[str, ...]) -> _Rules:
    """The rules with the last first, each with whether it takes in."""
    everything = ("**",) if patterns and patterns[0].startswith("!") else ()
    return tuple(
        (not pattern.startswith("!"), _path(pattern.removeprefix("!"))) for pattern in reversed(everything + patterns)
    )


def _path(pattern: str) -> re.Pattern[str]:
    directory = pattern.endswith("/")
    name = pattern.rstrip("/")
    anywhere = "" if "/" in name else "(?:.*/)?"
    below = "/.*" if directory else "(?:/.*)?"
    return re.compile(anywhere + _translated(name.removeprefix("/")) + below, re.DOTALL)


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
