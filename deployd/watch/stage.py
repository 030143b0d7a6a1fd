"""The watch of a release after the switch, beside the one that stands by: signs are measured until one is bad or time is over.

A bad sign returns the traffic, unless the release before fails as well: then the cause is not the release, and that is only told.
What measures may fail (an engine that is away, a Prometheus that does not answer): then nothing is known, and it is asked again.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from msgspec import structs

from deployd.config.app import App
from deployd.config.watch import Watch as Settings
from deployd.domain import Deploy, GateResult
from deployd.errors import BuildFailed, DeploydError, Unavailable
from deployd.gates.own import OwnGate
from deployd.ports.gate import Gate, Serving
from deployd.ports.log import Log
from deployd.ports.source import Context, Source
from deployd.ports.target import Target
from deployd.ports.watching import Lives
from deployd.probe import refusal
from deployd.tasks import beside, first
from deployd.watch.files import OneFile, Quiet
from deployd.watch.own import OwnVerdict
from deployd.watch.prometheus import Query
from deployd.watch.replays import Replays, Standby
from deployd.watch.requests import Baseline, Errors, Latency
from deployd.watch.restarts import Restarts, ended_since
from deployd.watch.sign import Sign

logger = logging.getLogger(__name__)

_LAST_MEASUREMENT_SECONDS = 2.0
# What ended so short a time before is taken to have ended for the same cause.
_RECENT_SECONDS = 10.0

Tell = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Watched:
    """A watched release: which release stands by for it, and until when."""

    number: int
    standby: int
    until: datetime


class Watch:
    """Watches releases of all apps. `gates` gives an app's gates, of which the golden one is asked again and again."""

    def __init__(self, targets: Mapping[str, Target], source: Source, gates: Callable[[App], Sequence[Gate]]) -> None:
        self._targets = targets
        self._source = source
        self._gates = gates

    async def begin(self, app: App, live: Deploy, standby: Deploy, log: Log, baseline: Baseline) -> "OneWatch":
        """The watch of `live`, for the time that the app's config gives. `baseline`: what is known of the requests before."""
        assert app.watch is not None  # noqa: S101 - nobody else asks
        target, golden = self._targets[app.target], next((g for g in self._gates(app) if g.name == "golden"), None)
        asking = _Asking(app, target, self._source, golden, log)
        before = baseline.of(standby.number, await target.traffic(app, standby.number))
        counted = partial(target.traffic, app, live.number)
        signs: list[Sign] = [
            Restarts(partial(target.lives, app, live)),
            Errors(counted, before, app.watch.max_error_rate),
            Latency(counted, before, app.watch.max_latency_ratio),
        ]
        if golden is not None:
            signs.append(Replays(partial(asking.replay, live)))
        if app.watch.prometheus is not None:
            signs.append(Query(app.watch.prometheus, app.watch.length))
        signs += [
            OwnVerdict(gate.name, partial(asking.own, OwnGate(gate), live, standby, log))
            for gate in app.gate
            if gate.when == "after"
        ]
        return OneWatch(
            app.watch, live, standby, signs, Standby(partial(asking.trouble, standby), partial(asking.ended, standby))
        )


class OneWatch:
    """One watch, to be used once."""

    def __init__(
        self, settings: Settings, live: Deploy, standby: Deploy, signs: Sequence[Sign], standing: Standby
    ) -> None:
        self._length = settings.length
        self._live = live
        self._standby = standby
        self._signs = signs
        self._standing = standing
        self._happened = {sign.name: asyncio.Event() for sign in signs}
        self._ordered: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._both = ""  # why the release should have gone, when the one before failed as well
        self.watched = Watched(live.number, standby.number, datetime.now(UTC) + timedelta(seconds=self._length))

    def wake(self) -> None:
        """Something changed outside deployd: measure at once."""
        for event in self._happened.values():
            event.set()

    async def can_return(self) -> bool:
        """Whether the release that stands by runs and is known to be good."""
        return not await self._standing.trouble() and self._standing.runs

    def order(self, why: str) -> None:
        """Return the traffic, as a person asked."""
        if not self._ordered.done():
            self._ordered.set_result(why)

    async def run(self, tell: Tell) -> str:
        """Watch until the time is over or a sign is bad: why the release cannot stay, or empty."""
        async with beside(self._standing.follow()):
            measuring = (self._follow(sign, tell) for sign in self._signs)
            _, reason = await first(self._over(), self._until_ordered(), *measuring)
            return reason

    async def measure_again(self) -> None:
        """Measure every sign once more: a container that ended shows first in the requests that failed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_MEASUREMENT_SECONDS):
                for sign in self._signs:
                    with suppress(DeploydError):
                        await sign.measure()

    def results(self, log: Log) -> list[GateResult]:
        """The result of each sign so far, with secrets masked as in `log`. One that was bad while the release before failed as
        well is a warning."""
        found = [structs.replace(one, detail=log.redact(one.detail)) for one in (sign.result() for sign in self._signs)]
        if not self._both:
            return found
        return [
            structs.replace(one, verdict="warned", detail=f"{one.detail}; {self._both}")
            if one.verdict == "failed"
            else one
            for one in found
        ]

    async def _over(self) -> str:
        await asyncio.sleep(self._length)
        return ""

    async def _until_ordered(self) -> str:
        return await asyncio.shield(self._ordered)

    async def _follow(self, sign: Sign, tell: Tell) -> str:
        """Measure one sign until it is bad and the release before is good."""
        happened, blind = self._happened[sign.name], False
        while True:
            happened.clear()
            try:
                reason = await sign.measure()
            except DeploydError as exc:
                if not blind:
                    logger.warning("The watch of %s cannot check %s: %s", self._live.name, sign.name, exc)
                reason, blind = "", True
            if reason:
                if not (trouble := await self._standing.trouble()):
                    return reason
                await self._tell_of_both(reason, trouble, tell)
            with suppress(TimeoutError):
                async with asyncio.timeout(sign.every):
                    await happened.wait()

    async def _tell_of_both(self, reason: str, trouble: str, tell: Tell) -> None:
        if not self._both:
            self._both = f"{self._standby.name} fails too: {trouble}"
            await tell(f"{reason}; no return, since {self._both}")


class _Asking:
    """How the two releases are asked: by the golden gate of the app, else by its ready path."""

    def __init__(self, app: App, target: Target, source: Source, golden: Gate | None, log: Log) -> None:
        self._app = app
        self._target = target
        self._source = source
        self._golden = golden
        self._log = Quiet(log)
        self._files: dict[int, Context] = {}
        self._lives: Lives = {}  # of the release that stands by, and when it ended last
        self._ended, self._ended_at = "", -math.inf

    async def replay(self, deploy: Deploy) -> GateResult | None:
        """The golden answers of a release now; None when nothing of it runs."""
        assert self._golden is not None  # noqa: S101 - nobody else asks
        async with self._target.asked(self._app, deploy) as candidate:
            if candidate is None:
                return None
            return await self._golden.ask(candidate, await self._file(deploy), self._log)

    async def own(self, gate: Gate, live: Deploy, standby: Deploy, log: Log) -> GateResult | None:
        """The own gate's verdict on a release compared with the standby; None when nothing of it runs."""
        async with self._target.asked(self._app, live) as asked, self._target.asked(self._app, standby) as former:
            if asked is None:
                return None
            serving = Serving(standby.number, former.address) if former is not None else None
            return await gate.ask(replace(asked, live=serving), None, log)

    async def trouble(self, standby: Deploy) -> str | None:
        """Why the release that stands by could not serve; empty when it could, None when it does not run by design."""
        lives = await self._target.lives(self._app, standby)
        if not lives:
            return None
        if ended := self._end_of(lives):
            return ended
        if self._golden is not None:
            result = await self.replay(standby)
            return result.detail if result is not None and result.verdict == "failed" else ""
        async with self._target.asked(self._app, standby) as candidate:
            if candidate is None:
                return "nothing of it runs"
            return await refusal(candidate.address, self._app.ready, candidate.headers)

    async def ended(self, standby: Deploy) -> str:
        """How the release that stands by has ended just now, though it may run again."""
        return self._end_of(await self._target.lives(self._app, standby))

    def _end_of(self, lives: Lives) -> str:
        if ends := ended_since(self._lives, lives):
            self._ended, self._ended_at = "; ".join(ends), time.monotonic()
        self._lives = lives
        down = next((f"{life.name} {life.ended}" for life in lives.values() if life.ended), "")
        return down or (self._ended if time.monotonic() - self._ended_at < _RECENT_SECONDS else "")

    async def _file(self, deploy: Deploy) -> Context:
        """The golden file of the release's own commit: another commit may expect other answers."""
        if deploy.number not in self._files:
            path = self._app.golden.file if self._app.golden is not None else ""
            content = None
            try:
                async with await self._source.fetch(self._app, deploy.commit, deploy.ref, self._log) as context:
                    content = await context.read(path)
            except (Unavailable, BuildFailed) as exc:
                said = "Cannot fetch the commit of %s, so its golden file is read from its image: %s"
                logger.warning(said, deploy.name, exc)
            self._files[deploy.number] = OneFile(deploy.commit, path, content)
        return self._files[deploy.number]
