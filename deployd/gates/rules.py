"""How an answer is compared with the expected one: a rule for each path, else one tolerance for all numbers. Pure.

What is expected must be there; keys that the expected answer does not have are not looked at. A rule holds for what its path
names and all below, `set` and `top_k` only for what it names. The longest path wins, then the one with fewer stars.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from deployd.jsonpath import Pattern, Step, shown

_LONGEST_VALUE = 60
_BEYOND_FLOATS = 10**308  # a larger integer cannot be converted to a float and must be equal exactly


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the values at a path are compared.

    Numbers: equal when they differ by at most `absolute` or by at most `relative` times the expected number. `ignore`: any value,
    but the key must be there. `set`: a list in any order. `top_k`: of {label: score}, or of a list of objects with the keys
    `label` and `score`, the same k labels have the highest scores; labels whose scores are within `absolute` of the k-th may
    take each other's place.
    """

    absolute: float | None = None
    relative: float | None = None
    ignore: bool = False
    set: bool = False
    top_k: int | None = None
    label: str = "label"
    score: str = "score"

    @property
    def wrong(self) -> str:
        """The fault of the rule; empty when there is none."""
        numbers = [value for value in (self.absolute, self.relative) if value is not None]
        if any(not 0 <= value < math.inf for value in numbers):
            return "absolute and relative must be finite and at least 0"
        if self.top_k is not None and self.top_k < 1:
            return "top_k must be at least 1"
        plain = bool(numbers) and self.top_k is None
        if self.ignore + self.set + (self.top_k is not None) + plain != 1:
            return "expected one of ignore, set, top_k, or absolute and relative"
        return ""


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not as expected. `what` says so where it is not just another value; `off` and `allowed` are of
    numbers."""

    path: tuple[Step, ...]
    got: Any = None
    expected: Any = None
    what: str = ""
    off: float | None = None
    allowed: float | None = None

    def __str__(self) -> str:
        return f"{shown(self.path)}: {self.what or f'{shortened(self.got)}, expected {shortened(self.expected)}'}"

    def row(self) -> dict[str, Any]:
        """The difference as a row of a gate's result."""
        found: dict[str, Any] = {"path": shown(self.path), "got": _kept(self.got), "expected": _kept(self.expected)}
        if self.what:
            found["what"] = self.what
        if self.off is not None and math.isfinite(self.off):
            found |= {"difference": self.off, "allowed": self.allowed}
        return found


class Rules:
    """The rules of one comparison. `tolerance` is for numbers that no rule names."""

    def __init__(self, rules: Mapping[str, Rule], tolerance: float) -> None:
        """ValueError when a path or a rule is wrong."""
        self._given = dict(rules)
        for path, rule in rules.items():
            if rule.wrong:
                raise ValueError(f"{path}: {rule.wrong}")
        self._rules = [(Pattern(path), rule) for path, rule in rules.items()]
        self._default = Rule(absolute=tolerance)
        self._tolerance = tolerance

    def over(self, rules: Mapping[str, Rule], tolerance: float | None) -> "Rules":
        """These rules, overridden by others."""
        return Rules(self._given | dict(rules), self._tolerance if tolerance is None else tolerance)

    def unused(self, expected: Sequence[Any]) -> str | None:
        """The first path that matches nothing in any expected answer; None when each matches something."""
        for pattern, _ in self._rules:
            if not any(True for answer in expected for _ in pattern.found(answer)):
                return pattern.text
        return None

    def differences(self, given: Any, wanted: Any, path: tuple[Step, ...] = ()) -> Iterator[Difference]:
        """The differences, in the order of the expected answer."""
        rule = self._rule(path)
        if rule.ignore:
            return
        if rule.set:
            yield from _set(given, wanted, path)
        elif rule.top_k is not None:
            yield from self._top(rule, given, wanted, path)
        elif isinstance(wanted, dict) and isinstance(given, dict):
            yield from self._keys(given, wanted, path)
        elif isinstance(wanted, list) and isinstance(given, list):
            yield from self._entries(given, wanted, path)
        else:
            yield from self._values(rule, given, wanted, path)

    def _keys(self, given: dict[str, Any], wanted: dict[str, Any], path: tuple[Step, ...]) -> Iterator[Difference]:
        for key, value in wanted.items():
            if key in given:
                yield from self.differences(given[key], value, (*path, key))
            else:
                yield Difference((*path, key), None, value, "is missing")

    def _entries(self, given: list[Any], wanted: list[Any], path: tuple[Step, ...]) -> Iterator[Difference]:
        if len(given) != len(wanted):
            yield Difference(path, given, wanted, f"{len(given)} entries, expected {len(wanted)}")
            return
        for index, value in enumerate(given):
            yield from self.differences(value, wanted[index], (*path, index))

    def _rule(self, path: tuple[Step, ...]) -> Rule:
        chosen = [(len(p), p.exact, rule) for p, rule in self._rules if _holds(p, rule, path)]
        return max(chosen, key=lambda one: one[:2])[2] if chosen else self._default

    def _values(self, rule: Rule, given: Any, wanted: Any, path: tuple[Step, ...]) -> Iterator[Difference]:
        if not (_is_number(given) and _is_number(wanted) and max(abs(given), abs(wanted)) < _BEYOND_FLOATS):
            if type(given) is not type(wanted) or not (given == wanted or _both_nan(given, wanted)):
                yield Difference(path, given, wanted)
            return
        absolute = self._tolerance if rule.absolute is None else rule.absolute
        allowed = max(absolute, (rule.relative or 0.0) * abs(wanted))
        off = abs(float(given) - float(wanted))
        if not off <= allowed:
            yield Difference(path, given, wanted, off=off, allowed=allowed)

    def _top(self, rule: Rule, given: Any, wanted: Any, path: tuple[Step, ...]) -> Iterator[Difference]:
        absolute = self._tolerance if rule.absolute is None else rule.absolute
        if (what := _other_top(rule, given, wanted, absolute)) is not None:
            yield Difference(path, given, wanted, what)


def shortened(value: Any) -> str:
    """A value in a line of text."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _holds(pattern: Pattern, rule: Rule, path: tuple[Step, ...]) -> bool:
    return pattern.names(path) if rule.set or rule.top_k is not None else pattern.covers(path)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _both_nan(given: Any, wanted: Any) -> bool:
    return isinstance(given, float) and isinstance(wanted, float) and math.isnan(given) and math.isnan(wanted)


def _kept(value: Any) -> Any:
    """A value for the record: short, and without numbers that JSON does not have."""
    if isinstance(value, dict | list) or (isinstance(value, float) and not math.isfinite(value)):
        return shortened(value)
    return shortened(value) if len(str(value)) > _LONGEST_VALUE else value


def _set(given: Any, wanted: Any, path: tuple[Step, ...]) -> Iterator[Difference]:
    if not isinstance(given, list) or not isinstance(wanted, list):
        yield Difference(path, given, wanted, "is not a list" if not isinstance(given, list) else "")
    elif what := _other_entries(given, wanted):
        yield Difference(path, given, wanted, what)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _other_entries(given: list[Any], wanted: list[Any]) -> str:
    """How two lists differ whose order does not matter; empty when they do not."""
    left = sorted(map(_canonical, given))
    missing = []
    for entry in map(_canonical, wanted):
        if entry in left:
            left.remove(entry)
        else:
            missing.append(entry)
    parts = [f"lacks {missing[0][:_LONGEST_VALUE]}"] if missing else []
    return ", ".join(parts + ([f"has {left[0][:_LONGEST_VALUE]}"] if left else []))


def _other_top(rule: Rule, given: Any, wanted: Any, tolerance: float) -> str | None:
    """How the labels with the highest scores differ; None when they do not."""
    got, expected = _scores(rule, given), _scores(rule, wanted)
    if got is None or expected is None:
        return "has no labels with scores"
    count = min(rule.top_k or 1, len(expected))
    first, best = _top(got, count), _top(expected, count)
    limit = expected[best[-1]] - tolerance if best else 0.0
    above = limit + 2 * tolerance
    wrong = [label for label in first if label not in best and expected.get(label, -math.inf) < limit]
    lost = [label for label in best if label not in first and expected[label] > above]
    if len(first) < count or wrong or lost:
        return f"the first {count} are {', '.join(first)}; expected {', '.join(best)}"
    return None


def _scores(rule: Rule, value: Any) -> dict[str, float] | None:
    if isinstance(value, list):
        try:
            value = {str(entry[rule.label]): entry[rule.score] for entry in value}
        except (KeyError, TypeError):
            return None
    if not isinstance(value, dict) or not all(_is_number(score) and score == score for score in value.values()):  # noqa: PLR0124 - NaN
        return None
    return value


def _top(scores: Mapping[str, float], count: int) -> list[str]:
    return sorted(scores, key=lambda label: (-scores[label], label))[:count]
