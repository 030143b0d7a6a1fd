"""The signs that requests to the release go wrong or take long, by the gateway's counters.

They are judged by what the release before was asked last. Where nobody counts, as on Kubernetes, they are not judged.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from deployd.domain import GateResult, Verdict
from deployd.judge.change import LIMIT, Change, usual_rate
from deployd.judge.latency import Slower, slower, typical
from deployd.judge.traffic import Reading, Traffic, Window

Ask = Callable[[], Awaitable[Reading]]

LEAST_REQUESTS = 60
"""The least requests for a release to pass: with no error among them, the error rate is under 5 %."""
_LEAST_DURATIONS = 20
_SETTLED_SECONDS = 1.0
_WINDOW_SECONDS = 10.0


class Baseline:
    """The requests to the live release in the last minute or two, as the baseline for the next watch."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, int, Reading]] = deque(maxlen=24)
        self._known: tuple[float, int, Traffic] = (0.0, 0, Traffic())

    def add(self, number: int, reading: Reading) -> None:
        """A reading of the live release `number`."""
        if reading:
            self._readings.append((time.monotonic(), number, reading))

    def of(self, number: int, last: Reading) -> Traffic:
        """The traffic of release `number` until the `last` reading. A release that stands by for a second watch has had no
        requests since."""
        since, known, traffic = self._known
        readings = [reading for at, of, reading in self._readings if of == number and at > since]
        if known == number and not readings:
            return traffic
        window = Window(readings[0] if readings else last)
        for reading in (*readings[1:], last):
            if reading:
                window.add(reading)
        self._known = time.monotonic(), number, window.whole()
        return self._known[2]


class _Counted:
    """The traffic of the release since the first reading."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._window: Window | None = None
        self.seen = Traffic()

    async def grown(self) -> Traffic:
        """The traffic since the last call. A reading is empty while the container does not run."""
        if not (reading := await self._ask()):
            return Traffic()
        if self._window is None:
            self._window = Window(reading)
        self._window.add(reading)
        before, self.seen = self.seen, self._window.whole()
        return self.seen.minus(before)


class Errors:
    """Requests that get no answer or one with 5xx."""

    name = "errors"

    def __init__(self, ask: Ask, before: Traffic, max_error_rate: float) -> None:
        """`before`: what the release before was asked last."""
        self.every = 0.5
        self._counted = _Counted(ask)
        self._before = before
        self._change = Change(usual_rate(before, max_error_rate))

    async def measure(self) -> str:
        """See Sign."""
        grown = await self._counted.grown()
        self._change.add(grown.requests, grown.bad)
        return self._said if self._change.certain else ""

    def result(self) -> GateResult:
        """See Sign."""
        seen, before = self._counted.seen, self._before
        figures: dict[str, Any] = {
            "requests": seen.requests,
            "errors": seen.bad,
            "old_requests": before.requests,
            "old_errors": before.bad,
            "usual_rate": round(self._change.usual, 5),
            "cusum": round(self._change.value, 2),
            "cusum_limit": LIMIT,
        }
        verdict: Verdict = "not_judged" if seen.requests < LEAST_REQUESTS else "passed"
        if self._change.certain:
            verdict = "failed"
        return GateResult(self.name, verdict, self._said, figures, moment="after")

    @property
    def _said(self) -> str:
        seen, before = self._counted.seen, self._before
        if not seen.requests:
            return "no requests were counted"
        old = (
            f"{before.bad:,} of {before.requests:,} of the release before"
            if before.requests
            else "nothing known before"
        )
        return f"{seen.bad:,} of {seen.requests:,} requests failed ({old}; usual is up to {self._change.usual:.2%})"


class Latency:
    """Answers that take certainly longer than those of the release before: measured in windows of ten seconds."""

    name = "latency"

    def __init__(self, ask: Ask, before: Traffic, max_ratio: float) -> None:
        """`before`: what the release before was asked last."""
        self.every = 2.0
        self._counted = _Counted(ask)
        self._before = before
        self._ratio = max_ratio
        self._began = time.monotonic()
        self._window_began: float | None = None
        self._start = Traffic()
        self._found: Slower | None = None

    async def measure(self) -> str:
        """See Sign."""
        await self._counted.grown()
        now, seen = time.monotonic(), self._counted.seen
        if self._window_began is None:
            if now - self._began >= _SETTLED_SECONDS:  # a cold cache is no slow model
                self._window_began, self._start = now, seen
            return ""
        self._found = slower(seen.minus(self._start).latencies, self._before.latencies, self._ratio)
        if self._found is None and now - self._window_began >= _WINDOW_SECONDS:
            self._window_began, self._start = now, seen
        return f"it is slower: {self._found}" if self._found is not None else ""

    def result(self) -> GateResult:
        """See Sign."""
        new, old = self._counted.seen.latencies, self._before.latencies
        figures: dict[str, Any] = {
            "requests": sum(new.values()),
            "old_requests": sum(old.values()),
            "max_ratio": self._ratio,
        }
        for name, quantile in (("p50_ms", 0.5), ("p95_ms", 0.95)):
            for prefix, durations in (("", new), ("old_", old)):
                if (found := typical(durations, quantile)) is not None:
                    figures[f"{prefix}{name}"] = round(found / 1000, 2)
        if self._found is not None:
            return GateResult(self.name, "failed", f"it is slower: {self._found}", figures, moment="after")
        if min(sum(new.values()), sum(old.values())) < _LEAST_DURATIONS:
            detail = f"too few answers: {sum(new.values())}, and {sum(old.values())} of the release before"
            return GateResult(self.name, "not_judged", detail, figures, moment="after")
        detail = f"median {figures['p50_ms']} ms, that of the release before {figures['old_p50_ms']} ms"
        return GateResult(self.name, "passed", detail, figures, moment="after")
