"""One answer of /metrics: the gauges are set from the present state, the counters stand as they are.

A series that is born at 1 shows no increase to Prometheus: an app's first failure would never alert. So `expect` makes every
series that an alert may count, at the start and at each reload.
"""

import asyncio
import importlib.metadata
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest

from deployd import metrics
from deployd.api.differences import flat
from deployd.api.services import Services
from deployd.config.app import App
from deployd.domain import AppState, Deploy, GateResult
from deployd.status import Status

ENDS = (Status.LIVE, Status.FAILED, Status.SUPERSEDED, Status.CANCELLED, Status.PROVEN, Status.REVERTED)
VERDICTS = ("passed", "warned", "failed", "not_judged")

_MOST_FIGURES = 100
_LONGEST_NAME = 100


def expect(apps: Iterable[App]) -> None:
    """Make the series of these apps, at 0 where they are new."""
    for app in apps:
        for status in ENDS:
            metrics.DEPLOYS.labels(app.name, status.value)
        for gate in _gates(app):
            for verdict in VERDICTS:
                metrics.GATES.labels(app.name, gate, verdict)
        if app.target == "docker":
            metrics.REQUESTS.labels(app.name)
            metrics.REQUEST_ERRORS.labels(app.name)


async def scrape(services: Services) -> bytes:
    """The text of /metrics."""
    config = services.config
    states = await services.store.states([app.name for app in config.app])
    with suppress(OSError):  # /readyz says what is wrong with the disk
        _show_disk(*await asyncio.to_thread(_disk, config.server.state_dir))
    for gauge in (*metrics.OF_APPS, metrics.REPORTS_WAITING, metrics.REPORTS_OLDEST):
        gauge.clear()
    metrics.INFO.labels(importlib.metadata.version("deployd")).set(1)
    for state in states:
        _show(services, state)
    for unsent, _ in await services.reporting.unsent():
        metrics.REPORTS_WAITING.labels(unsent.reporter).set(unsent.count)
        metrics.REPORTS_OLDEST.labels(unsent.reporter).set(_seconds(unsent.since, datetime.now(UTC)))
    return generate_latest()


def figures_of(gates: Iterable[GateResult]) -> Iterator[tuple[str, str, str, float]]:
    """The numbers among the figures of gates: gate, moment, name, value. Those of an own gate are limited in number."""
    for gate in gates:
        numbers = ((name, value) for name, value in flat("", gate.figures) if _is_number(value))
        for (name, value), _ in zip(numbers, range(_MOST_FIGURES), strict=False):
            yield gate.name, gate.moment, name[:_LONGEST_NAME], float(value)


def _show(services: Services, state: AppState) -> None:
    app, now = state.app, datetime.now(UTC)
    metrics.QUEUE_DEPTH.labels(app).set(state.queued)
    metrics.HEAD_LAG.labels(app).set(_seconds(state.behind_since(), now))
    metrics.IN_FLIGHT.labels(app).set(_seconds(state.in_flight.started_at if state.in_flight else None, now))
    metrics.HELD.labels(app).set(int(state.held_commit is not None))
    metrics.PAUSED.labels(app).set(int(state.paused))
    if state.live is not None:
        _show_live(services, state, state.live)


def _show_live(services: Services, state: AppState, live: Deploy) -> None:
    health = services.scheduler.lanes.health(state.app, live.number)
    serves = health is None or health.state in {"ok", "unready"}
    metrics.LIVE_INFO.labels(state.app, live.commit).set(int(serves))
    if state.live_since is not None:
        metrics.LIVE_SINCE.labels(state.app).set(state.live_since.timestamp())
    for gate, moment, figure, value in figures_of(live.gates):
        metrics.GATE_FIGURE.labels(state.app, gate, moment, figure).set(value)


def _gates(app: App) -> list[str]:
    """The gates of an app, before a switch and in its watch, as far as its config tells."""
    named: Mapping[str, Any] = {"golden": app.golden, "evaluate": app.evaluate, "compare": app.compare}
    watched = ("restarts", "errors", "latency") if app.watch is not None else ()
    return ["ready", *(name for name, table in named.items() if table), *watched, *(gate.name for gate in app.gate)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _seconds(since: datetime | None, now: datetime) -> float:
    return (now - since).total_seconds() if since is not None else 0.0


def _disk(directory: Path) -> tuple[int, int]:
    usage = shutil.disk_usage(directory)
    return usage.free, usage.total


def _show_disk(free: int, size: int) -> None:
    metrics.DISK_FREE.set(free)
    metrics.DISK_SIZE.set(size)
