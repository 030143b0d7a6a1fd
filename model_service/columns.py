"""The types of columns: from a JSON value to a checked value of a column, and back. Without pandas.

A checked value is a number, a boolean, a text or a datetime. NaN is a missing number, whole number or boolean, and None is a
missing value of any other type. Knows nothing of rows or requests.
"""

import json
import math
import re
from collections.abc import Callable
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from model_service.manifest import Feature

LARGEST = 3.4028234663852886e38  # of float32, in which trees compare
_BIT_LENGTH = re.compile(r"int(\d+)", re.IGNORECASE)
_MOST_SHOWN = 1_000  # characters of known categories in a message
_MOST_COMPARED = 2_000  # characters of names to compare with a misspelt one; this many take a few milliseconds

Reader = Callable[[Any], Any]


class Unfit(Exception):
    """A value that does not fit its column; the text says what is expected and what came."""


def reader(feature: Feature) -> Reader:
    """The check of one column: it returns the checked value of a JSON value, or raises Unfit."""
    check = _CHECKS[feature.type](feature)
    takes_missing, missing = feature.missing, missing_value(feature)

    def read(value: Any) -> Any:
        # NaN comes from a binary tensor; isnan() fails on huge integers
        if takes_missing and (value is None or value != value):  # noqa: PLR0124
            return missing
        return check(value)

    return read


def missing_value(feature: Feature) -> float | None:
    """The value that replaces a missing one in the rows of a request."""
    return math.nan if feature.type in ("number", "integer", "boolean") else None


def to_json(value: Any) -> Any:
    """The JSON value that is read as this checked value."""
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and math.isnan(value) else value


def example(feature: Feature) -> Any:
    """A JSON value that the column takes."""
    match feature.type:
        case "number":
            return feature.mean or 0.0
        case "integer":
            return round(feature.mean or 0)
        case "boolean":
            return (feature.mean or 0) >= 0.5
        case "category":
            return feature.categories[feature.counts.index(max(feature.counts))] if feature.counts else None
        case "datetime":
            return feature.latest or "2020-01-01T00:00:00"
        case "text":
            return "text"


def describe(value: Any) -> str:
    """A JSON value in words, with at most a short quote."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {json.dumps(value[:40])}"
    if isinstance(value, (int, float)):
        return f"the number {_show(value)}"
    return "an empty list" if value == [] else "a list" if isinstance(value, list) else "an object"


def shorten(text: str, most: int) -> str:
    """The text, cut if it is longer."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def suggest(given: str, known: list[str]) -> str:
    """`, did you mean 'x'?`, unless the search would take long."""
    if len(given) * len(known) > _MOST_COMPARED:
        return ""
    near = get_close_matches(given, known, n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def integer_bounds(dtype: str) -> tuple[int, int]:
    """The least and the largest whole number of a dtype."""
    found = _BIT_LENGTH.search(dtype)
    bits = int(found[1]) if found else 64
    return (0, 2**bits - 1) if dtype.lower().startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _number(_feature: Feature) -> Reader:
    def check(value: Any) -> Any:
        if type(value) is not float and type(value) is not int:
            raise Unfit(f"expected a number, got {describe(value)}")
        if not -LARGEST <= value <= LARGEST:
            raise Unfit(f"expected a number within ±{LARGEST!r}, got {_show(value)}")
        return value

    return check


def _integer(feature: Feature) -> Reader:
    low, high = integer_bounds(feature.dtype)

    def check(value: Any) -> Any:
        whole = type(value) is int or (type(value) is float and value.is_integer())
        if not whole:
            raise Unfit(f"expected a whole number, got {describe(value)}")
        if not low <= value <= high:
            raise Unfit(f"expected a whole number from {low} to {high}, got {_show(value)}")
        return int(value)

    return check


def _boolean(_feature: Feature) -> Reader:
    def check(value: Any) -> Any:
        if type(value) is not bool:
            raise Unfit(f"expected true or false, got {describe(value)}")
        return value

    return check


def _text(_feature: Feature) -> Reader:
    def check(value: Any) -> Any:
        if type(value) is not str:
            raise Unfit(f"expected a text, got {describe(value)}")
        try:
            value.encode()
        except UnicodeEncodeError as exc:
            raise Unfit("expected a text, got a lone surrogate in it") from exc
        return value

    return check


def _category(feature: Feature) -> Reader:
    known = {(_kind(value), value): value for value in feature.categories}
    kinds = {kind for kind, _ in known}
    names = [value for value in feature.categories if isinstance(value, str)]
    listed = shorten(", ".join(json.dumps(value, ensure_ascii=False) for value in feature.categories), _MOST_SHOWN)
    text = _text(feature)

    def check(value: Any) -> Any:
        kind = _kind(value)
        if kind == "text":
            text(value)
        key = (kind, value if kind else None)
        if key in known:
            return known[key]
        if feature.unknown and kind in kinds:
            return value
        near = suggest(value, names) if kind == "text" else ""
        raise Unfit(f"expected one of {listed}, got {describe(value)}{near}")

    return check


def _datetime(feature: Feature) -> Reader:
    is_aware = "," in feature.dtype
    # Nanoseconds in 64 bits end in these years.
    first, last = (1678, 2261) if "ns" in feature.dtype else (1, 9999)
    expected = "a date and time like 2026-01-31T12:00:00" + ("+00:00, with its offset" if is_aware else "")

    def check(value: Any) -> Any:
        try:
            given = datetime.fromisoformat(value)
        except (TypeError, ValueError) as exc:
            raise Unfit(f"expected {expected}, got {describe(value)}") from exc
        if (given.tzinfo is not None) != is_aware:
            raise Unfit(f"expected {expected}{'' if is_aware else ' without an offset'}, got {describe(value)}")
        if not first <= given.year <= last:
            raise Unfit(f"expected a year from {first} to {last}, got {describe(value)}")
        return given

    return check


_CHECKS: dict[str, Callable[[Feature], Reader]] = {
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "text": _text,
    "category": _category,
    "datetime": _datetime,
}


def _kind(value: Any) -> str:
    """The kind of a category's value. Booleans are not numbers here, and all else is no category."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "text"
    return "number" if isinstance(value, (int, float)) else ""


def _show(value: float) -> str:
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of more than 38 digits"
    return repr(value)
