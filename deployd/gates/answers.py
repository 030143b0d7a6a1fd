"""The content of a golden file, recorded requests with their expected answers, and the comparison of answers. Pure.

Each case's `request` is sent to `url`; the answer must contain all that `response` has, numbers within `tolerance`. Keys that
`response` does not have are ignored.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import msgspec

from deployd.errors import RolloutFailed
from deployd.wording import plain

_LONGEST_VALUE = 60
_BEYOND_FLOATS = 10**308  # a larger integer cannot be converted to a float and must be equal exactly


@dataclass(frozen=True, slots=True)
class Case:
    """One request and what its answer must contain."""

    request: Any
    response: Any


@dataclass(frozen=True, slots=True)
class Document:
    """The content of a golden file. `url` and `tolerance` are None when the file has none."""

    cases: tuple[Case, ...]
    url: str | None = None
    method: str = "POST"
    tolerance: float | None = None


def parse(content: bytes, name: str) -> Document:
    """The cases of a golden file; RolloutFailed when it is not a golden file."""
    try:
        document = msgspec.convert(json.loads(content), Document)
    except (ValueError, RecursionError) as exc:
        raise RolloutFailed(
            f"{name} is not a golden file: {_words(exc)}",
            hint='expected {"url", "tolerance", "cases": [{"request", "response"}]}',
        ) from exc
    if not document.cases:
        raise RolloutFailed(f"{name} has no cases", hint="record at least one case, or remove [app.golden]")
    return document


def _words(exc: Exception) -> str:
    """What is wrong with the file: where it is no JSON, or what is missing."""
    if isinstance(exc, json.JSONDecodeError):
        return f"not JSON at line {exc.lineno}, column {exc.colno}"
    if isinstance(exc, msgspec.ValidationError):
        return plain(exc)
    return "not UTF-8 text" if isinstance(exc, UnicodeDecodeError) else "nested too deeply"


def difference(given: Any, wanted: Any, tolerance: float, path: str = "$") -> str | None:
    """The first difference between `given` and `wanted`, as `$.predictions[0].label: 2, expected 1`."""
    if isinstance(wanted, dict) and isinstance(given, dict):
        return _first(
            f"{path}.{key}: is missing"
            if key not in given
            else difference(given[key], value, tolerance, f"{path}.{key}")
            for key, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(given, list):
        if len(given) != len(wanted):
            return f"{path}: {len(given)} entries, expected {len(wanted)}"
        return _first(
            difference(value, wanted[index], tolerance, f"{path}[{index}]") for index, value in enumerate(given)
        )
    if _equal(given, wanted, tolerance):
        return None
    return f"{path}: {_shown(given)}, expected {_shown(wanted)}"


def _equal(given: Any, wanted: Any, tolerance: float) -> bool:
    if _is_number(given) and _is_number(wanted) and max(abs(given), abs(wanted)) < _BEYOND_FLOATS:
        return bool(given == wanted) or math.isclose(float(given), float(wanted), rel_tol=0, abs_tol=tolerance)
    return type(given) is type(wanted) and bool(given == wanted)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _first(differences: Any) -> str | None:
    return next((found for found in differences if found is not None), None)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
