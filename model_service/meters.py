"""What is counted, in memory that all workers share: a scrape of any worker tells of all of them.

Each worker adds to a slot of its own, plain doubles in a shared file, four times a second: counting costs no lock and no
system call, and when a worker dies the next one takes over its slot and goes on, so no counter ever falls. Names and text
come from prometheus_client; its own multi-process mode writes to a file at every increment. Knows nothing of HTTP.
"""

import asyncio
import fcntl
import math
import mmap
import os
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from model_service.manifest import Manifest
from model_service.model import Answer, Row

SLOTS = 64
FLUSH_EVERY = 0.25  # seconds until other workers' scrapes see what was counted
FLUSH_ROWS = 1024
ROUTES = ("predict", "api", "infer", "other")
OTHER = ROUTES.index("other")
STATUSES = (200, 400, 404, 405, 408, 413, 415, 422, 499, 500, 503, 504)
BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_COLUMN_OF = {status: i for i, status in enumerate(STATUSES)}
_STATUS_COLUMNS = len(STATUSES) + 1


class Meters(Collector):
    """The counters of one worker, and the sums over all."""

    def __init__(self, manifest: Manifest, *, commit: str | None, shared: Path | None) -> None:
        self._manifest = manifest
        self._commit = commit or ""
        self._buckets = len(ROUTES) * _STATUS_COLUMNS
        self._seconds = self._buckets + len(ROUTES) * (len(BOUNDS) + 1)
        self._rows = self._seconds + len(ROUTES)
        self._labels = self._rows + len(ROUTES)
        self._inputs = self._labels + max(1, len(manifest.labels))
        self._size = self._inputs + 4 * len(manifest.features)
        self._times: defaultdict[tuple[int, int], list[float]] = defaultdict(list)  # by route and status
        self._rows_seen: list[Row] = []
        self._answers_seen: list[Answer] = []
        self._row_counts = [0] * len(ROUTES)
        self._timer: asyncio.TimerHandle | None = None
        self._ranges = [(feature.minimum, feature.maximum) for feature in manifest.features]
        self._file = None if shared is None else shared.open("r+b")
        self._all, slot = self._mapped()
        self._mine = self._all[slot * self._size : (slot + 1) * self._size]
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def request(self, route: int, status: int, seconds: float) -> None:
        """One answer on ROUTES[route]. Only kept here: a hundred are counted together for the price of ten."""
        self._times[route, status].append(seconds)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_EVERY, self.flush)

    def predicted(self, route: int, rows: Sequence[Row], answers: Sequence[Answer]) -> None:
        """Rows that were answered on ROUTES[route]. The request that they came with is counted after them."""
        self._row_counts[route] += len(rows)
        self._rows_seen += rows
        self._answers_seen += answers
        if len(self._rows_seen) > FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Makes what was counted since the last time visible to all workers."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        times, rows, answers, counts = self._times, self._rows_seen, self._answers_seen, self._row_counts
        self._times, self._rows_seen, self._answers_seen = defaultdict(list), [], []
        self._row_counts = [0] * len(ROUTES)
        fresh = [0.0] * self._size
        fresh[self._rows : self._rows + len(ROUTES)] = counts
        for (route, status), seconds in times.items():
            self._count_requests(fresh, route, status, seconds)
        for chosen, count in Counter([answer.chosen for answer in answers]).items():
            fresh[self._labels + max(0, chosen)] += count
        for k, column in enumerate(zip(*rows, strict=True)):
            self._count_inputs(fresh, k, column)
        mine = self._mine
        for i, more in enumerate(fresh):
            if more:
                mine[i] += more

    def close(self) -> None:
        """Leaves the slot to the next worker."""
        self.flush()
        if self._file is not None:
            self._file.close()

    def _count_requests(self, fresh: list[float], route: int, status: int, seconds: list[float]) -> None:
        """The answers with one status on one route."""
        fresh[route * _STATUS_COLUMNS + _COLUMN_OF.get(status, _STATUS_COLUMNS - 1)] += len(seconds)
        fresh[self._seconds + route] += sum(seconds)
        seconds.sort()
        at, below = self._buckets + route * (len(BOUNDS) + 1), 0
        for i, bound in enumerate((*BOUNDS, math.inf)):
            within = bisect_right(seconds, bound)
            fresh[at + i] += within - below
            below = within

    def _count_inputs(self, fresh: list[float], k: int, values: Sequence[float]) -> None:
        """One feature's values: how many, their sum, how many lie below and above what training saw."""
        low, high = self._ranges[k]
        whole = sum(values)
        if whole != whole:  # noqa: PLR0124  # NaN: some are missing
            values = [value for value in values if value == value]  # noqa: PLR0124
            whole = sum(values)
        at = self._inputs + 4 * k
        fresh[at] += len(values)
        fresh[at + 1] += whole
        if values and not (low <= min(values) and max(values) <= high):
            fresh[at + 2] += sum(value < low for value in values)
            fresh[at + 3] += sum(value > high for value in values)

    def text(self) -> bytes:
        """All counters of all workers, in the Prometheus text format."""
        self.flush()
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """The metrics, as prometheus_client asks for them."""
        whole = [sum(self._all[i :: self._size]) for i in range(self._size)]
        yield from self._traffic(whole)
        yield from self._inputs_seen(whole)
        info = GaugeMetricFamily("model_info", "The model that is served", labels=("name", "version", "commit"))
        info.add_metric((self._manifest.name, self._manifest.version, self._commit), 1)
        yield info

    def _traffic(self, whole: Sequence[float]) -> Iterator[Metric]:
        requests = CounterMetricFamily("model_requests", "Requests by route and status", labels=("route", "status"))
        latency = HistogramMetricFamily("model_request_seconds", "Time to answer", labels=("route",))
        rows = CounterMetricFamily("model_rows", "Rows predicted", labels=("route",))
        for i, route in enumerate(ROUTES):
            first = i * _STATUS_COLUMNS
            for status, count in zip((*STATUSES, "else"), whole[first : first + _STATUS_COLUMNS], strict=True):
                if count:
                    requests.add_metric((route, str(status)), count)
            first = self._buckets + i * (len(BOUNDS) + 1)
            latency.add_metric((route,), _cumulated(whole[first : first + len(BOUNDS) + 1]), whole[self._seconds + i])
            rows.add_metric((route,), whole[self._rows + i])
        yield requests
        yield latency
        yield rows
        said = CounterMetricFamily("model_predictions", "Rows by predicted label", labels=("label",))
        for k, label in enumerate(self._manifest.labels):
            said.add_metric((label,), whole[self._labels + k])
        yield said

    def _inputs_seen(self, whole: Sequence[float]) -> Iterator[Metric]:
        outside = CounterMetricFamily(
            "model_input_outside_training_range", "Values that training has not seen", labels=("feature", "side")
        )
        values = SummaryMetricFamily("model_input", "Input values: their mean is sum / count", labels=("feature",))
        means = GaugeMetricFamily("model_input_training_mean", "The mean in the training data", labels=("feature",))
        for i, feature in enumerate(self._manifest.features):
            count, total, below, above = whole[self._inputs + 4 * i : self._inputs + 4 * i + 4]
            outside.add_metric((feature.name, "below"), below)
            outside.add_metric((feature.name, "above"), above)
            values.add_metric((feature.name,), count_value=int(count), sum_value=total)
            means.add_metric((feature.name,), feature.mean)
        yield outside
        yield values
        yield means

    def _mapped(self) -> "tuple[memoryview[float], int]":
        """All slots as doubles, and the number of ours: the first that no living worker has locked."""
        size = 8 * self._size * (1 if self._file is None else SLOTS)
        if self._file is None:
            return memoryview(mmap.mmap(-1, size)).cast("d"), 0
        if os.fstat(self._file.fileno()).st_size < size:
            os.ftruncate(self._file.fileno(), size)
        for slot in range(SLOTS):
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
            except OSError:
                continue
            return memoryview(mmap.mmap(self._file.fileno(), size)).cast("d"), slot
        raise RuntimeError(f"more than {SLOTS} workers share one file of meters")


def _cumulated(counts: Sequence[float]) -> list[tuple[str, float]]:
    total, buckets = 0.0, []
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
