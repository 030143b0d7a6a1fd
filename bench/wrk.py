"""One run of wrk with a script, and what it printed."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from deployd.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Round:
    """Answers per second, their p50 and p99 in ms; the number of 2xx answers, and of other or missing ones."""

    rate: float
    p50: float
    p99: float
    answered: int
    failed: int


def wrk(url: str, script: Path, connections: int, seconds: int) -> Round:
    """Run it to its end."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    other = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    refused = int(other[1]) if other else 0
    return Round(
        float(_found(r"Requests/sec:\s+([\d.]+)", text)[1]),
        _milliseconds("50%", text),
        _milliseconds("99%", text),
        int(_found(r"(\d+) requests in", text)[1]) - refused,
        refused + sum(map(int, errors.groups() if errors else ())),
    )


def _milliseconds(percentile: str, text: str) -> float:
    match = _found(rf"{percentile}\s+([\d.]+)(us|ms|s)\b", text)
    return float(match[1]) * {"us": 0.001, "ms": 1, "s": 1000}[match[2]]


def _found(pattern: str, text: str) -> re.Match[str]:
    if (match := re.search(pattern, text)) is None:
        raise Unavailable("the output of wrk cannot be read", hint=text)
    return match
