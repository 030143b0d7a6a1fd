"""The samples of the traffic of apps: each is kept fine for a while, and coarse for longer.

`traffic_seen` holds for how many seconds of each stretch requests were counted, so that no requests differs from no counts.
"""

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from deployd.samples import COARSE, FINE, Grain, Sample
from deployd.store.rows import as_json
from deployd.store.table import Table

_GRAINS = (FINE, COARSE)
_AT_ONCE = 20
_ADD = (
    "INSERT INTO traffic (app, grain, at, number, requests, errors, refused, latencies) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (app, grain, at, number) DO UPDATE SET requests = excluded.requests, errors = excluded.errors, "
    "refused = excluded.refused, latencies = excluded.latencies"
)
_SEEN = (
    "INSERT INTO traffic_seen (grain, at, seconds) VALUES (?, ?, ?) "
    "ON CONFLICT (grain, at) DO UPDATE SET seconds = seconds + excluded.seconds"
)


class Traffic(Table):
    """The samples. Each write deletes those that are older than their grain is kept for."""

    async def record_traffic(self, samples: Iterable[Sample], seen: Mapping[int, float]) -> None:
        """Add samples of fine stretches; `seen`: for how many seconds of each stretch there was anybody to count. Raises
        Unavailable. A few samples at a time: what is written here runs on the event loop."""
        known = list(samples)
        for first in range(0, len(known), _AT_ONCE):
            await self._database.write(partial(_add_all, known[first : first + _AT_ONCE]))
        await self._database.write(partial(_see_and_forget, seen))

    async def traffic(self, app: str, grain: Grain, since: float) -> tuple[list[Sample], dict[int, float]]:
        """The samples of an app from the stretch of `since` on, and for how many seconds of each stretch anybody counted."""
        first = grain.stretch(since)
        samples = "SELECT * FROM traffic WHERE app = ? AND grain = ? AND at >= ? ORDER BY at, number"
        seen = "SELECT at, seconds FROM traffic_seen WHERE grain = ? AND at >= ? ORDER BY at"

        def work(connection: sqlite3.Connection) -> tuple[list[Sample], dict[int, float]]:
            found = [_sample_of(row) for row in connection.execute(samples, (app, grain.seconds, first))]
            covered = {row["at"]: row["seconds"] for row in connection.execute(seen, (grain.seconds, first))}
            return found, covered

        return await self._database.read(work)


def _add_all(samples: Sequence[Sample], connection: sqlite3.Connection) -> None:
    for grain in _GRAINS:
        for sample in samples:
            _add(connection, grain, sample)


def _see_and_forget(seen: Mapping[int, float], connection: sqlite3.Connection) -> None:
    for grain in _GRAINS:
        for at, seconds in seen.items():
            connection.execute(_SEEN, (grain.seconds, grain.stretch(at), seconds))
        _forget(connection, grain, time.time())


def _add(connection: sqlite3.Connection, grain: Grain, sample: Sample) -> None:
    key = (sample.app, grain.seconds, grain.stretch(sample.at), sample.number)
    query = "SELECT * FROM traffic WHERE app = ? AND grain = ? AND at = ? AND number = ?"
    if (row := connection.execute(query, key).fetchone()) is not None:
        sample = _sample_of(row).plus(sample)
    latencies = as_json({str(least): count for least, count in sorted(sample.latencies.items())})
    connection.execute(_ADD, (*key, sample.requests, sample.errors, sample.refused, latencies))


def _forget(connection: sqlite3.Connection, grain: Grain, now: float) -> None:
    """Delete what is too old, with an index for the age: an app that left the config is never asked for by name again."""
    before = (grain.seconds, grain.stretch(now - grain.kept))
    connection.execute("DELETE FROM traffic WHERE grain = ? AND at < ?", before)
    connection.execute("DELETE FROM traffic_seen WHERE grain = ? AND at < ?", before)


def _sample_of(row: sqlite3.Row) -> Sample:
    latencies = {int(least): count for least, count in json.loads(row["latencies"]).items()}
    return Sample(row["app"], row["number"], row["at"], row["requests"], row["errors"], row["refused"], latencies)
