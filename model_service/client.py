"""A small client: `python -m model_service.client 5.8 4.0 1.2 0.2`, or `Client(url).predict(rows)` in a program.

Needs nothing but the standard library.
"""

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

Row = Sequence[float] | Mapping[str, float]


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

    def predict(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """One prediction for each row; a row is a list of numbers or of named features. Raises PredictionFailed."""
        answer = self._request(
            "/predict", {"instances": [dict(r) if isinstance(r, Mapping) else list(r) for r in rows]}
        )
        predictions: list[dict[str, Any]] = answer["predictions"]
        return predictions

    def version(self) -> dict[str, Any]:
        """The commit and the model that are served. Raises PredictionFailed."""
        return self._request("/version", None)

    def _request(self, path: str, document: Any) -> dict[str, Any]:
        body = None if document is None else json.dumps(document).encode()
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


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns its exit code: 0 for a prediction, 1 for none."""
    parser = argparse.ArgumentParser(prog="python -m model_service.client", description="Predicts one row.")
    parser.add_argument("values", nargs="+", type=float, metavar="VALUE", help="the features of the row, in order")
    parser.add_argument("--url", default="http://127.0.0.1:5000", help="address of the service (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print the whole prediction")
    options = parser.parse_args(arguments)
    try:
        prediction = Client(options.url).predict([options.values])[0]
    except PredictionFailed as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    print(json.dumps(prediction) if options.json else prediction.get("label", prediction.get("value")))
    return 0


def _reason(failure: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(failure)["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {failure.code}"


if __name__ == "__main__":
    sys.exit(main())
