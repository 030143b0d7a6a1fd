"""From the JSON of a request to checked rows of numbers. Errors name the place and what was expected.

A row holds JSON numbers within ±3.4028234663852886e38 (float32, in which trees compare), and `null` for a missing value where
the training data had missing values. Text, booleans, NaN and Infinity are refused. No side effects; knows nothing of HTTP but
the status of a rejection: 422 for what does not fit this model.
"""

import json
import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from model_service.errors import RequestRejected
from model_service.manifest import Manifest

LARGEST = 3.4028234663852886e38
_MOST_COMPARED = 2_000  # characters of names to compare with a misspelt one; this many take a few milliseconds


class RowReader:
    """Reads rows for one model: each is a list of numbers, or an object of named features."""

    def __init__(self, manifest: Manifest, *, max_rows: int) -> None:
        self.names = [feature.name for feature in manifest.features]
        self.width = len(self.names)
        self.max_rows = max_rows
        self.names_text = _shorten(", ".join(self.names), 1000)
        self._known = frozenset(self.names)
        self._missing = [feature.missing for feature in manifest.features]

    def read(self, document: Any, key: str) -> list[list[float]]:
        """The rows under `key` of a request object. Raises RequestRejected 422."""
        rows = document.get(key) if type(document) is dict else None
        if type(rows) is not list or not rows:
            raise self._no_rows(document, key)
        return self.check(rows, key)

    def check(self, rows: list[Any], where: str) -> list[list[float]]:
        """The rows, if they are not too many and each has the right number of valid values. Raises RequestRejected 422."""
        if len(rows) > self.max_rows:
            raise RequestRejected(422, f"{where}: {len(rows)} rows, at most {self.max_rows} are taken at once")
        width = self.width
        checked = []
        for i, given in enumerate(rows):
            row = given
            if type(row) is not list or len(row) != width:
                row = self._read_row(given, f"{where}[{i}]")
            for value in row:
                # The bounds also exclude NaN and infinities. Booleans have a type of their own.
                if (type(value) is not float and type(value) is not int) or not -LARGEST <= value <= LARGEST:
                    row = self._fill_missing(row, f"{where}[{i}]")
                    break
            checked.append(row)
        return checked

    def _no_rows(self, document: Any, key: str) -> RequestRejected:
        if type(document) is not dict:
            return RequestRejected(422, f'expected an object {{"{key}": [[…]]}}, got {_describe(document)}')
        if key not in document:
            return RequestRejected(422, f'"{key}" is missing: expected {{"{key}": [[{self.names_text}]]}}')
        return RequestRejected(422, f"{key}: expected a list of at least one row, got {_describe(document[key])}")

    def _read_row(self, given: Any, where: str) -> list[Any]:
        """The values of a row that is not a list of the right width."""
        if type(given) is dict:
            return self._read_names(given, where)
        if type(given) is not list:
            raise RequestRejected(
                422, f"{where}: expected a list of {self.width} numbers or an object, got {_describe(given)}"
            )
        raise RequestRejected(422, f"{where}: expected {self.width} numbers ({self.names_text}), got {len(given)}")

    def _read_names(self, given: Mapping[str, Any], where: str) -> list[Any]:
        if given.keys() == self._known:
            return [given[name] for name in self.names]
        for name in given:
            if name not in self._known:
                raise RequestRejected(422, f"{where}: there is no feature {name[:100]!r}{self._suggest(name)}")
        missing = next(name for name in self.names if name not in given)
        raise RequestRejected(422, f"{where}: the feature {missing!r} is missing")

    def _suggest(self, name: str) -> str:
        """The nearest feature name, unless the search would take long."""
        if len(name) * self.width > _MOST_COMPARED:
            return ""
        near = get_close_matches(name, self.names, n=1)
        return f", did you mean {near[0]!r}?" if near else ""

    def _fill_missing(self, row: list[Any], where: str) -> list[float]:
        """The row with NaN for each value that is missing and may be missing."""
        return [self._number(value, k, where) for k, value in enumerate(row)]

    def _number(self, value: Any, k: int, where: str) -> float:
        if value is None and self._missing[k]:
            return math.nan
        if type(value) is not float and type(value) is not int:
            raise RequestRejected(422, f"{where}[{k}] ({self.names[k]}): expected a number, got {_describe(value)}")
        if value != value and self._missing[k]:  # noqa: PLR0124  # NaN from a binary tensor; isnan() fails on huge integers
            return math.nan
        if not -LARGEST <= value <= LARGEST:
            raise RequestRejected(
                422, f"{where}[{k}] ({self.names[k]}): expected a number within ±{LARGEST!r}, got {_show(value)}"
            )
        return value


def _describe(value: Any) -> str:
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


def _shorten(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _show(value: float) -> str:
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of more than 38 digits"
    return repr(value)
