"""From the JSON of a request to checked rows. Errors name the place and what was expected.

A row holds a value for each column: JSON numbers within ±3.4028234663852886e38 (float32, in which trees compare), and what else
`columns.py` says for a column of another type; `null` is a missing value where the training data had missing values. NaN and
Infinity are refused. No side effects; knows nothing of HTTP but the status of a rejection: 422 for what does not fit this model.
"""

from collections.abc import Mapping
from typing import Any

from model_service.columns import LARGEST, Unfit, describe, reader, shorten, suggest
from model_service.errors import RequestRejected
from model_service.manifest import Manifest

# The ways in which MLflow's clients send rows, besides ours.
FORMS = ("dataframe_split", "dataframe_records", "inputs")


class RowReader:
    """Reads rows for one model: each is a list of values, or an object of named values."""

    def __init__(self, manifest: Manifest, *, max_rows: int) -> None:
        self.names = [feature.name for feature in manifest.features]
        self.width = len(self.names)
        self.max_rows = max_rows
        self.names_text = shorten(", ".join(self.names), 1000)
        self._known = frozenset(self.names)
        self._readers = [reader(feature) for feature in manifest.features]
        self._only_numbers = all(feature.type == "number" for feature in manifest.features)
        self._values_text = "numbers" if self._only_numbers else "values"

    def read(self, document: Any, key: str) -> list[list[Any]]:
        """The rows under `key` of a request object. Raises RequestRejected 422."""
        rows = document.get(key) if type(document) is dict else None
        if type(rows) is not list or not rows:
            raise self._no_rows(document, key)
        return self.check(rows, key)

    def read_any(self, document: Any) -> list[list[Any]]:
        """The rows under "instances", or in one of the forms of MLflow's clients. Raises RequestRejected 422."""
        if type(document) is dict and "instances" not in document:
            forms = [form for form in FORMS if form in document]
            if len(forms) > 1:
                raise RequestRejected(422, f"expected one of instances, {', '.join(FORMS)}, got {' and '.join(forms)}")
            if forms:
                return self.check(*self._unpack(document[forms[0]], forms[0]))
        return self.read(document, "instances")

    def check(self, rows: list[Any], where: str) -> list[list[Any]]:
        """The rows, if they are not too many and each has the right number of valid values. Raises RequestRejected 422."""
        if len(rows) > self.max_rows:
            raise RequestRejected(422, f"{where}: {len(rows)} rows, at most {self.max_rows} are taken at once")
        width, only_numbers = self.width, self._only_numbers
        checked = []
        for i, given in enumerate(rows):
            row = given
            if type(row) is not list or len(row) != width:
                row = self._read_row(given, f"{where}[{i}]")
            if not only_numbers:
                checked.append(self._read_values(row, f"{where}[{i}]"))
                continue
            for value in row:
                # The bounds also exclude NaN and infinities. Booleans have a type of their own.
                if (type(value) is not float and type(value) is not int) or not -LARGEST <= value <= LARGEST:
                    row = self._read_values(row, f"{where}[{i}]")
                    break
            checked.append(row)
        return checked

    def _unpack(self, given: Any, form: str) -> tuple[list[Any], str]:
        """The rows that were sent in a form of MLflow's clients, and where they are in the request."""
        if form == "dataframe_split":
            return self._unpack_split(given, form), "dataframe_split.data"
        if form == "inputs" and type(given) is dict:
            return self._unpack_columns(given, form), form
        if type(given) is not list or not given:
            raise RequestRejected(422, f"{form}: expected a list of at least one row, got {describe(given)}")
        return given, form

    def _unpack_split(self, given: Any, form: str) -> list[Any]:
        columns, data = (given.get("columns"), given.get("data")) if type(given) is dict else (None, None)
        if type(data) is not list or not data:
            raise RequestRejected(422, f'{form}: expected {{"columns": […], "data": [[…]]}} with at least one row')
        if columns is None:
            return data
        if type(columns) is not list or any(type(name) is not str for name in columns):
            raise RequestRejected(422, f"{form}.columns: expected a list of names, got {describe(columns)}")
        if len(set(columns)) != len(columns):
            raise RequestRejected(422, f"{form}.columns: a name is there twice")
        for i, row in enumerate(data):
            if type(row) is not list or len(row) != len(columns):
                raise RequestRejected(422, f"{form}.data[{i}]: expected a list of {len(columns)} values")
        return data if columns == self.names else [dict(zip(columns, row, strict=True)) for row in data]

    def _unpack_columns(self, given: dict[str, Any], form: str) -> list[Any]:
        """Rows from an object of columns; each is a list of values, or a value if there is one row."""
        if not any(type(column) is list for column in given.values()):
            return [given]
        lengths = {len(column) if type(column) is list else -1 for column in given.values()}
        if len(lengths) != 1 or 0 in lengths:
            raise RequestRejected(422, f"{form}: expected columns of one length, at least 1")
        return [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]

    def _no_rows(self, document: Any, key: str) -> RequestRejected:
        if type(document) is not dict:
            return RequestRejected(422, f'expected an object {{"{key}": [[…]]}}, got {describe(document)}')
        if key not in document:
            return RequestRejected(422, f'"{key}" is missing: expected {{"{key}": [[{self.names_text}]]}}')
        return RequestRejected(422, f"{key}: expected a list of at least one row, got {describe(document[key])}")

    def _read_row(self, given: Any, where: str) -> list[Any]:
        """The values of a row that is not a list of the right width."""
        if type(given) is dict:
            return self._read_names(given, where)
        what = f"{self.width} {self._values_text}"
        if type(given) is not list:
            raise RequestRejected(422, f"{where}: expected a list of {what} or an object, got {describe(given)}")
        raise RequestRejected(422, f"{where}: expected {what} ({self.names_text}), got {len(given)}")

    def _read_names(self, given: Mapping[str, Any], where: str) -> list[Any]:
        if given.keys() == self._known:
            return [given[name] for name in self.names]
        for name in given:
            if name not in self._known:
                near = suggest(name, self.names)
                raise RequestRejected(422, f"{where}: there is no feature {name[:100]!r}{near}")
        missing = next(name for name in self.names if name not in given)
        raise RequestRejected(422, f"{where}: the feature {missing!r} is missing")

    def _read_values(self, row: list[Any], where: str) -> list[Any]:
        """The checked values of a row of the right width."""
        checked = []
        for k, (read, value) in enumerate(zip(self._readers, row, strict=True)):
            try:
                checked.append(read(value))
            except Unfit as exc:
                raise RequestRejected(422, f"{where}[{k}] ({self.names[k]}): {exc}") from exc
        return checked
