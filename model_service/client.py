"""A small client: `python -m model_service.client 5.8 4.0 1.2 0.2`, or `Client(url).predict(rows)` in a program.

Needs nothing but the standard library.
"""

import argparse
import json
import math
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

Row = Sequence[Any] | Mapping[str, Any]


class PredictionFailed(Exception):
    """The service gave no prediction. `status` is its HTTP status, or None if it could not be reached."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """A client of one model service."""

    def __init__(self, url: str = "http://127.0.0.1:5000", *, timeout: float = 30.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"expected an http or https address, got {url!r}")
        self._url = url.rstrip("/")
        self._timeout = timeout

    def predict(self, rows: Any) -> list[dict[str, Any]]:
        """One prediction for each row. Raises PredictionFailed.

        `rows` is a DataFrame, of which the columns are sent by their names, or an array, or a sequence of rows; a row is a
        sequence of values, or a mapping from feature names. NaN and other missing values are sent as null, dates as text.
        """
        answer = self._request("/predict", {"instances": [_plain(row) for row in _rows(rows)]})
        predictions: list[dict[str, Any]] = answer["predictions"]
        return predictions

    def version(self) -> dict[str, Any]:
        """The commit and the model that are served. Raises PredictionFailed."""
        return self._request("/version", None)

    def _request(self, path: str, document: Any) -> dict[str, Any]:
        body = None if document is None else json.dumps(document, allow_nan=False).encode()
        request = urllib.request.Request(self._url + path, body, {"Content-Type": "application/json"})  # noqa: S310  # checked above
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as response:  # noqa: S310  # as above
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as exc:
            with exc:
                raise PredictionFailed(_reason(exc), status=exc.code) from exc
        except (OSError, ValueError) as exc:
            raise PredictionFailed(f"no answer from {self._url}: {exc}") from exc


def _rows(rows: Any) -> Any:
    """The rows of a DataFrame, each by the names of its columns; anything else is rows already."""
    if hasattr(rows, "columns") and hasattr(rows, "to_dict"):
        return rows.to_dict("records")
    return rows


def _plain(value: Any) -> Any:
    """The value in JSON types: scalars of NumPy and pandas as their values, arrays as lists, missing values as null."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _not_finite(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return _plain_object(value)


def _plain_object(value: Any) -> Any:
    """The JSON form of an object that is not of a built-in type."""
    if hasattr(value, "isoformat"):  # a date, or pandas' missing date, which is not equal to itself
        return value.isoformat() if value == value else None  # noqa: PLR0124
    if hasattr(value, "tolist"):  # of NumPy
        return _plain(value.tolist())
    if hasattr(value, "__iter__"):
        return [_plain(one) for one in value]
    if type(value).__name__ == "NAType":
        return None
    raise TypeError(f"cannot send {type(value).__name__} {value!r:.40}")


def _not_finite(value: float) -> None:
    """None for NaN. Raises ValueError for an infinite number."""
    if not math.isnan(value):
        raise ValueError(f"cannot send {value}: JSON has no infinite number")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code: 0 for a prediction, 1 for none."""
    parser = argparse.ArgumentParser(prog="python -m model_service.client", description="Predicts one row.")
    parser.add_argument(
        "values", nargs="+", type=_value, metavar="VALUE", help="the values of the row, in order: JSON, or else a text"
    )
    parser.add_argument("--url", default="http://127.0.0.1:5000", help="address of the service (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the whole prediction")
    options = parser.parse_args(arguments)
    try:
        prediction = Client(options.url).predict([options.values])[0]
    except PredictionFailed as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    short = next((prediction[key] for key in ("label", "value", "cluster", "outlier") if key in prediction), prediction)
    print(json.dumps(prediction) if options.json else short)
    return 0


def _value(text: str) -> Any:
    """A word of the command line: a number, true, false, null or nan, or else a text."""
    try:
        value = json.loads(text)
    except ValueError:
        return math.nan if text.lower() == "nan" else text
    return value if isinstance(value, (bool, int, float, str)) or value is None else text


def _reason(failure: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(failure)["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {failure.code}"


if __name__ == "__main__":
    sys.exit(main())
