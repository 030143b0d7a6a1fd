"""Metrics in memory that all workers share: a scrape of any worker shows the sums over all of them.

Each worker has a slot of its own, plain doubles in a shared file, and adds to it four times a second. So counting needs no lock
and no system call. When a worker dies, the next one takes over its slot and goes on, so no counter ever falls. Names and text
come from prometheus_client; its own multi-process mode would write to a file at every increment. Knows nothing of HTTP.
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
from typing import Any

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
from model_service.model import Prediction, Row

SLOTS = 64
FLUSH_EVERY = 0.25  # seconds until scrapes of other workers see a count
FLUSH_ROWS = 1024
ROUTES = ("predict", "api", "infer", "other")
OTHER = ROUTES.index("other")
STATUSES = (200, 400, 404, 405, 408, 413, 415, 422, 499, 500, 503, 504)
BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_COLUMN_OF = {status: i for i, status in enumerate(STATUSES)}
_STATUS_COLUMNS = len(STATUSES) + 1


class Metrics(Collector):
    """The counters of one worker, and the sums over all workers."""

    def __init__(self, manifest: Manifest, *, commit: str | None, shared: Path | None) -> None:
        self._manifest = manifest
        self._commit = commit or ""
        # A slot holds the requests by route and status, then these groups of numbers, which start here.
        self._buckets = len(ROUTES) * _STATUS_COLUMNS
        self._seconds = self._buckets + len(ROUTES) * (len(BOUNDS) + 1)
        self._rows = self._seconds + len(ROUTES)
        self._labels = self._rows + len(ROUTES)
        self._inputs = self._labels + max(1, len(manifest.labels))
        self._size = self._inputs + 4 * len(manifest.features)
        self._times: defaultdict[tuple[int, int], list[float]] = defaultdict(list)  # by route and status
        self._new_rows: list[Row] = []
        self._new_predictions: list[Prediction] = []
        self._row_counts = [0] * len(ROUTES)
        self._timer: asyncio.TimerHandle | None = None
        self._ranges = [
            (_number(feature.minimum, -math.inf), _number(feature.maximum, math.inf)) for feature in manifest.features
        ]
        self._numeric = [feature.type in ("number", "integer", "boolean") for feature in manifest.features]
        self._known = [
            frozenset(feature.categories) if feature.type == "category" else None for feature in manifest.features
        ]
        self._file = None if shared is None else shared.open("r+b")
        self._all_slots, number = self._map_slots()
        self._slot = self._all_slots[number * self._size : (number + 1) * self._size]
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def count_request(self, route: int, status: int, seconds: float) -> None:
        """One answer on ROUTES[route]. It is only noted here: counting many together is cheaper."""
        self._times[route, status].append(seconds)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_EVERY, self.flush)

    def count_predictions(self, route: int, rows: Sequence[Row], predictions: Sequence[Prediction]) -> None:
        """Rows that were predicted on ROUTES[route]. Call this before `count_request`, which sees to the flush."""
        self._row_counts[route] += len(rows)
        self._new_rows += rows
        self._new_predictions += predictions
        if len(self._new_rows) > FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Adds all new counts to the slot, where every worker sees them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        times, rows, predictions, row_counts = self._times, self._new_rows, self._new_predictions, self._row_counts
        self._times, self._new_rows, self._new_predictions = defaultdict(list), [], []
        self._row_counts = [0] * len(ROUTES)
        fresh = [0.0] * self._size
        fresh[self._rows : self._rows + len(ROUTES)] = row_counts
        for (route, status), seconds in times.items():
            self._count_requests(fresh, route, status, seconds)
        for index, count in Counter([prediction.class_index for prediction in predictions]).items():
            fresh[self._labels + max(0, index)] += count
        for k, column in enumerate(zip(*rows, strict=True)):
            self._count_inputs(fresh, k, column)
        slot = self._slot
        for i, value in enumerate(fresh):
            if value:
                slot[i] += value

    def close(self) -> None:
        """Frees the slot for the next worker."""
        self.flush()
        if self._file is not None:
            self._file.close()

    def _count_requests(self, fresh: list[float], route: int, status: int, seconds: list[float]) -> None:
        """Adds the answers with one status on one route, by how long they took."""
        fresh[route * _STATUS_COLUMNS + _COLUMN_OF.get(status, _STATUS_COLUMNS - 1)] += len(seconds)
        fresh[self._seconds + route] += sum(seconds)
        seconds.sort()
        start, below = self._buckets + route * (len(BOUNDS) + 1), 0
        for i, bound in enumerate((*BOUNDS, math.inf)):
            within = bisect_right(seconds, bound)
            fresh[start + i] += within - below
            below = within

    def _count_inputs(self, fresh: list[float], k: int, values: Sequence[Any]) -> None:
        """Adds one feature's values: their number, their sum, and how many lie below and above the range in training."""
        if not self._numeric[k]:
            self._count_others(fresh, k, values)
            return
        low, high = self._ranges[k]
        total = sum(values)
        if total != total:  # noqa: PLR0124  # NaN: some values are missing
            values = [value for value in values if value == value]  # noqa: PLR0124
            total = sum(values)
        start = self._inputs + 4 * k
        fresh[start] += len(values)
        fresh[start + 1] += total
        if values and not (low <= min(values) and max(values) <= high):
            fresh[start + 2] += sum(value < low for value in values)
            fresh[start + 3] += sum(value > high for value in values)

    def _count_others(self, fresh: list[float], k: int, values: Sequence[Any]) -> None:
        """Adds one feature's texts, dates or categories: how many there are, and how many are no known category."""
        present = [value for value in values if value is not None]
        known, start = self._known[k], self._inputs + 4 * k
        fresh[start] += len(present)
        if known is not None:
            fresh[start + 2] += sum(value not in known for value in present)

    def text(self) -> bytes:
        """All counters of all workers, in the Prometheus text format."""
        self.flush()
        return generate_latest(self._registry)

    def statistics(self) -> dict[str, Any]:
        """The inference requests of all workers, in the form of Triton's statistics."""
        self.flush()
        sums = [sum(self._all_slots[i :: self._size]) for i in range(self._size)]
        route = ROUTES.index("infer")
        by_status = sums[route * _STATUS_COLUMNS : (route + 1) * _STATUS_COLUMNS]
        succeeded = int(by_status[_COLUMN_OF[200]])
        failed = int(sum(by_status)) - succeeded
        # The time is counted for all answers together.
        nanoseconds = int(sums[self._seconds + route] * 1e9)
        share = succeeded / max(1, succeeded + failed)
        success = {"count": succeeded, "ns": int(nanoseconds * share)}
        failure = {"count": failed, "ns": nanoseconds - success["ns"]}
        nothing = {"count": 0, "ns": 0}
        phases = dict.fromkeys(("queue", "compute_input", "compute_infer", "compute_output"), nothing)
        described = {
            "name": self._manifest.name,
            "version": self._manifest.version,
            "last_inference": 0,
            "inference_count": int(sums[self._rows + route]),
            "execution_count": succeeded,
            "inference_stats": {"success": success, "fail": failure, **phases},
            "batch_stats": [],
        }
        return {"model_stats": [described]}

    def collect(self) -> Iterable[Metric]:
        """The metrics in the form that prometheus_client expects."""
        sums = [sum(self._all_slots[i :: self._size]) for i in range(self._size)]
        yield from self._traffic(sums)
        yield from self._input_values(sums)
        info = GaugeMetricFamily("model_info", "The model that is served", labels=("name", "version", "commit"))
        info.add_metric((self._manifest.name, self._manifest.version, self._commit), 1)
        yield info

    def _traffic(self, sums: Sequence[float]) -> Iterator[Metric]:
        requests = CounterMetricFamily("model_requests", "Requests by route and status", labels=("route", "status"))
        latency = HistogramMetricFamily("model_request_seconds", "Time to answer", labels=("route",))
        rows = CounterMetricFamily("model_rows", "Rows predicted", labels=("route",))
        for i, route in enumerate(ROUTES):
            first = i * _STATUS_COLUMNS
            for status, count in zip((*STATUSES, "else"), sums[first : first + _STATUS_COLUMNS], strict=True):
                if count:
                    requests.add_metric((route, str(status)), count)
            first = self._buckets + i * (len(BOUNDS) + 1)
            latency.add_metric((route,), _cumulate(sums[first : first + len(BOUNDS) + 1]), sums[self._seconds + i])
            rows.add_metric((route,), sums[self._rows + i])
        yield requests
        yield latency
        yield rows
        labels = CounterMetricFamily("model_predictions", "Rows by predicted label", labels=("label",))
        for k, label in enumerate(self._manifest.labels):
            labels.add_metric((label,), sums[self._labels + k])
        yield labels

    def _input_values(self, sums: Sequence[float]) -> Iterator[Metric]:
        outside = CounterMetricFamily(
            "model_input_outside_training_range",
            "Values outside the range in the training data, or categories that are not in it",
            labels=("feature", "side"),
        )
        values = SummaryMetricFamily("model_input", "Input values: their mean is sum / count", labels=("feature",))
        means = GaugeMetricFamily("model_input_training_mean", "The mean in the training data", labels=("feature",))
        for i, feature in enumerate(self._manifest.features):
            count, total, below, above = sums[self._inputs + 4 * i : self._inputs + 4 * i + 4]
            if feature.type == "category":
                outside.add_metric((feature.name, "unknown"), below)
            elif feature.mean is not None:
                outside.add_metric((feature.name, "below"), below)
                outside.add_metric((feature.name, "above"), above)
                means.add_metric((feature.name,), feature.mean)
            values.add_metric((feature.name,), count_value=int(count), sum_value=total)
        yield outside
        yield values
        yield means

    def _map_slots(self) -> "tuple[memoryview[float], int]":
        """All slots as doubles, and the number of this worker's slot: the first that no living worker has locked."""
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
        raise RuntimeError(f"more than {SLOTS} workers share one file of metrics")


def _number(value: float | None, otherwise: float) -> float:
    """The value, if there is one."""
    return otherwise if value is None else value


def _cumulate(counts: Sequence[float]) -> list[tuple[str, float]]:
    total, buckets = 0.0, []
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
