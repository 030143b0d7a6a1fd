"""Samples what the gateway counts for each app, on a timer: for the store, for the metrics, and for the rates of the last minute.

The gateway counts on while deployd does not run, but nobody knows then when a request came: the first reading after a start only
says from where to count. A minute of samples is written at once, so that an idle host writes little; a kill loses that minute.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from deployd.config.app import App
from deployd.config.running import Running
from deployd.errors import DeploydError, Unavailable
from deployd.judge.growth import grown
from deployd.judge.traffic import Traffic
from deployd.metrics import REQUEST_ERRORS, REQUESTS
from deployd.samples import FINE, NO_RELEASE, Counted, Rates, Sample, merged, summed
from deployd.store.store import Store

logger = logging.getLogger(__name__)

Count = Callable[[Sequence[App]], Awaitable[Mapping[str, Counted]]]
"""Returns the counters of these apps; apps without counters are left out."""

_RECENT = 6
_UNWRITTEN = 6


class Sampler:
    """`count` is asked once in each fine stretch, for the apps that run behind the gateway."""

    def __init__(self, running: Running, store: Store, count: Count) -> None:
        self._running = running
        self._store = store
        self._count = count
        self._last: dict[str, Counted] = {}
        self._last_at: float | None = None
        self._samples: dict[tuple[str, int, int], Sample] = {}
        self._seen: dict[int, float] = {}
        self._recent: dict[str, deque[Sample]] = {}
        self._spans: deque[float] = deque(maxlen=_RECENT)
        self._trouble = ""

    async def serve(self) -> None:
        """Sample until cancelled, then write what is left."""
        try:
            while True:
                await asyncio.sleep(FINE.seconds - time.time() % FINE.seconds)
                await self.sample(time.time())
                if len(self._seen) >= _UNWRITTEN:
                    await self._try_to_write()
        finally:
            with suppress(Unavailable):
                await self.write()

    async def sample(self, now: float) -> None:
        """Count what has come since the last sample, for the stretch that ends now. Trouble is logged once."""
        counted: Mapping[str, Counted] = {}
        try:
            counted = await self._count([app for app in self._running.apps if app.target == "docker"])
            self._trouble = ""
        except DeploydError as exc:
            if self._trouble != exc.message:
                logger.warning("The traffic cannot be counted: %s", exc)
            self._trouble = exc.message
        if not counted:
            self._recent.clear()
            return
        before, self._last_at = self._last_at, now
        if before is not None:
            await self._add(FINE.stretch(now - FINE.seconds / 2), now - before, counted)
        self._last = dict(counted)

    async def write(self) -> None:
        """Write the samples that are not in the store yet. Unavailable when the disk refuses: then they are lost."""
        samples, seen = self._samples, self._seen
        if seen:
            self._samples, self._seen = {}, {}
            await self._store.record_traffic(samples.values(), seen)

    def rates(self, app: str) -> Rates | None:
        """How an app was asked in the last minute; None where nobody counts, or has not begun to."""
        if (recent := self._recent.get(app)) is None:
            return None
        seconds, whole = sum(list(self._spans)[-len(recent) :]), summed(recent, 0)
        per_second = whole.requests / seconds if seconds else 0.0
        return Rates(seconds, per_second, whole.error_rate, whole.quantile(0.95))

    async def _add(self, at: int, seconds: float, counted: Mapping[str, Counted]) -> None:
        self._seen[at] = self._seen.get(at, 0.0) + seconds
        self._spans.append(seconds)
        self._recent = {app: kept for app, kept in self._recent.items() if app in counted}
        for app, each in counted.items():
            if (last := self._last.get(app)) is None:
                continue
            deploys = {**last.deploys, **each.deploys}  # the container of a release that has ended may be gone by now
            found = [
                _sample(app, at, traffic, deploys.get(address, NO_RELEASE))
                for address, traffic in grown(last.reading, each.reading).items()
            ]
            for sample in found:
                key = (app, at, sample.number)
                self._samples[key] = self._samples[key].plus(sample) if key in self._samples else sample
            whole = summed(found, at)
            self._recent.setdefault(app, deque(maxlen=_RECENT)).append(whole)
            REQUESTS.labels(app).inc(whole.requests)
            REQUEST_ERRORS.labels(app).inc(whole.errors)
            await asyncio.sleep(0)  # with many apps the event loop goes on in between

    async def _try_to_write(self) -> None:
        try:
            await self.write()
        except Unavailable as exc:
            logger.warning("The traffic of the last minute is not recorded: %s (%s)", exc, exc.hint)


def _sample(app: str, at: int, traffic: Traffic, number: int) -> Sample:
    return Sample(app, number, at, traffic.requests, traffic.bad, traffic.refused, merged([traffic.latencies]))
