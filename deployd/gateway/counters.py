"""HAProxy's counters for each server of an app: the parser of its text, and the rules that count durations. Pure.

HAProxy has no quantiles. So each answer is counted in a stick table, by its server, the number of digits of its duration in µs,
and the first two of them: `s2:5:12` stands for 12,000 to 12,999 µs. The duration ends with the head of the answer; the time in
which the client sent its request is in it.
"""

import csv
import re
from collections.abc import Iterator, Mapping

from deployd.judge.traffic import Counters, Histogram, Place, Reading

_ENTRY = re.compile(r"key=(s\d+):(\d+):(\d+) .*\bgpc0=(\d+)")
_TABLE = re.compile(r"^# table: ([^,\s]+),.*$", re.MULTILINE)
_BACKEND = "BACKEND"
# 1xx: to a request that becomes a WebSocket, 101 is the answer. One that gets 100 and then none is missed.
_ANSWERED = ("hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other")

LATENCY_RULES = (
    "  stick-table type string len 16 size 4k store gpc0",
    "  http-request set-var(txn.began) date(0,us)",
    "  http-response set-var(txn.took) date(0,us),sub(txn.began)",
    "  http-response set-var(txn.digits) var(txn.took),length",
    "  http-response set-var(txn.first) var(txn.took),concat(),bytes(0,2)",
    "  http-response track-sc0 srv_name,concat(:,txn.digits,:),concat(,txn.first)",
    "  http-response sc-inc-gpc0(0)",
)


def parse_counters(worker: int, stat: str, table: str = "") -> Reading:
    """Parse the answers of one worker to `show stat BACKEND 4 -1` and `show table BACKEND`; a worker that ended has none."""
    latencies = parse_latencies(table)
    return {
        Place(worker, row["svname"], row["addr"]): _counters(row, latencies.get(row["svname"], {}))
        for row in table_of(stat)
        if row.get("addr")
    }


def parse_all(worker: int, stat: str, tables: str) -> Mapping[str, Reading]:
    """Parse the answers of one worker to `show stat -1 6 -1` and to `show table BACKEND` of several: a reading for each backend.

    The backend itself is in it as a place without an address."""
    latencies = {name: parse_latencies(text) for name, text in _tables(tables)}
    found: dict[str, dict[Place, Counters]] = {}
    for row in table_of(stat):
        name, server, address = row.get("pxname", ""), row.get("svname", ""), row.get("addr") or ""
        if address or server == _BACKEND:
            counted = _counters(row, latencies.get(name, {}).get(server, {}))
            found.setdefault(name, {})[Place(worker, server, address)] = counted
    return found


def _tables(text: str) -> Iterator[tuple[str, str]]:
    """The answers to several `show table`, each with the name of its table."""
    parts = _TABLE.split(text)
    return zip(parts[1::2], parts[2::2], strict=True)


def _counters(row: Mapping[str, str], latencies: Histogram) -> Counters:
    return Counters(
        attempts=_number(row, "stot"),
        answered=sum(_number(row, name) for name in _ANSWERED),
        errors=_number(row, "hrsp_5xx"),
        refused=_number(row, "hrsp_4xx"),
        given_up=_number(row, "cli_abrt"),
        open=_number(row, "scur"),
        latencies=latencies,
    )


def parse_latencies(text: str) -> Mapping[str, Histogram]:
    """Parse the answer to `show table BACKEND`: for each server, how many answers took how long."""
    found: dict[str, dict[int, int]] = {}
    for server, digits, first, count in _ENTRY.findall(text):
        least = int(first) * 10 ** max(0, int(digits) - 2)
        histogram = found.setdefault(server, {})
        histogram[least] = histogram.get(least, 0) + int(count)
    return found


def table_of(text: str) -> Iterator[Mapping[str, str]]:
    """The rows of an answer to `show stat`."""
    return csv.DictReader(line.removeprefix("# ") for line in text.splitlines() if line.strip())


def _number(row: Mapping[str, str], name: str) -> int:
    return int(row.get(name) or 0)
