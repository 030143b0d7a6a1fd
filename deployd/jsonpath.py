"""Paths into JSON, as rules name them: `$.predictions[*].label`. Pure.

`.name` (or `['any name']`) is a key, `.*` every key, `[3]` an entry of a list, `[*]` every entry. There are no filters.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

Step = str | int
"""A key of an object or an index of a list."""

ANY_KEY, ANY_ENTRY = object(), object()
_STEP = re.compile(r"\.(?P<star>\*)|\.(?P<key>[^.\[\]'*]+)|\[(?P<all>\*)\]|\[(?P<index>\d+)\]|\['(?P<quoted>[^']+)'\]")
_PLAIN = re.compile(r"[^.\[\]'*]+")


class Pattern:
    """One path, with or without stars."""

    def __init__(self, text: str) -> None:
        """Raises ValueError when `text` is not a valid path."""
        self.text = text
        self._steps = _parsed(text)

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def exact(self) -> int:
        """The number of its steps that are not stars."""
        return sum(step is not ANY_KEY and step is not ANY_ENTRY for step in self._steps)

    def covers(self, path: Sequence[Step]) -> bool:
        """Whether the pattern matches `path` or a path above it."""
        return len(path) >= len(self._steps) and all(
            _matches(step, at) for step, at in zip(self._steps, path, strict=False)
        )

    def names(self, path: Sequence[Step]) -> bool:
        """Whether the pattern matches exactly `path`."""
        return len(path) == len(self._steps) and self.covers(path)

    def found(self, value: Any) -> Iterator[Any]:
        """Every value in `value` that the pattern matches, in order."""
        values = [value]
        for step in self._steps:
            values = [inner for outer in values for inner in _inside(outer, step)]
        yield from values


def shown(path: Sequence[Step]) -> str:
    """A path as a person writes it: `$.predictions[0].label`."""
    return "$" + "".join(_shown(step) for step in path)


def _shown(step: Step) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _PLAIN.fullmatch(step) else f"['{step}']"


def _parsed(text: str) -> tuple[object, ...]:
    if not text.startswith("$"):
        raise ValueError(f'"{text}" is not a path: it must begin with $, as in "$.predictions[*].label"')
    steps, at = [], 1
    while at < len(text):
        if (step := _STEP.match(text, at)) is None:
            raise ValueError(f'"{text}" is not a path: after "{text[:at]}" expected .name, .*, [3], [*] or [\'name\']')
        steps.append(_meant(step))
        at = step.end()
    return tuple(steps)


def _meant(step: re.Match[str]) -> object:
    if step["star"]:
        return ANY_KEY
    if step["all"]:
        return ANY_ENTRY
    return int(step["index"]) if step["index"] is not None else step["key"] or step["quoted"]


def _matches(step: object, at: Step) -> bool:
    if step is ANY_KEY:
        return isinstance(at, str)
    return isinstance(at, int) if step is ANY_ENTRY else step == at


def _inside(value: Any, step: object) -> Iterator[Any]:
    if isinstance(value, dict):
        if step is ANY_KEY:
            yield from value.values()
        elif step in value:
            yield value[step]
    elif isinstance(value, list):
        if step is ANY_ENTRY:
            yield from value
        elif isinstance(step, int) and step < len(value):
            yield value[step]
