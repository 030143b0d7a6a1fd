"""A canary on the engine: the candidate gets a growing share of the traffic, beside the old release, and is judged by it.

It comes before the cut-over: nothing is recorded as live, and a newer push ends it as it ends a gate. Unless it ends well, all
requests go back to the old release at once. The share is on loan, so that is so after a crash of deployd, too.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from deployd.config.app import App
from deployd.domain import GateResult, Verdict
from deployd.errors import RolloutFailed, Unavailable
from deployd.gateway.gateway import Gateway
from deployd.gateway.share import LOAN_SECONDS
from deployd.gateway.slots import Endpoint
from deployd.judge.canary import LEAST_REQUESTS, Both, CanaryJudge
from deployd.judge.evidence import TICK_SECONDS
from deployd.judge.traffic import Window
from deployd.ports.gate import Candidate
from deployd.ports.target import Progress
from deployd.tasks import uninterrupted

NAME = "canary"

_MEASURE_EVERY = round(1 / TICK_SECONDS)  # ticks


class Canary:
    """One canary of `new`, the candidate's endpoint, beside `old`, the one that serves."""

    def __init__(self, app: App, gateway: Gateway, progress: Progress, new: Endpoint, old: Endpoint) -> None:
        self._app = app
        self._gateway = gateway
        self._progress = progress
        self._new = new
        self._old = old
        self._judge = CanaryJudge()
        self._window = Window({})
        self._heard = 0.0

    async def run(self, candidate: Candidate) -> None:
        """All steps but the last, which is the cut-over. RolloutFailed when the candidate errs more often or is slower."""
        async with self._progress.step(NAME):
            try:
                await self._gateway.lend(self._app.name, self._new, 0)  # its slot, so that its first request is counted
                self._window = Window(await self._gateway.reading(self._app.name))
                for percent in self._app.gateway.weights[:-1]:
                    await self._step(percent)
                    await self._end_step(candidate)
            except BaseException:
                await uninterrupted(self._gateway.call_back(self._app.name))
                raise
            await self._progress.judged(self._result())

    async def _step(self, percent: int) -> None:
        self._judge.begin_step(percent)
        self._heard = began = time.monotonic()
        tick = 0
        while time.monotonic() - began < self._app.gateway.step:
            if tick % _MEASURE_EVERY == 0:
                await self._reach(self._gateway.lend(self._app.name, self._new, percent * 10))
            tick += 1
            await asyncio.sleep(max(0.0, began + tick * TICK_SECONDS - time.monotonic()))
            reason = (
                await self._measure(settling=tick <= _MEASURE_EVERY)
                if tick % _MEASURE_EVERY == 0
                else await self._count()
            )
            if reason is not None:
                await self._refuse(percent, reason)

    async def _count(self) -> str | None:
        """Count requests and errors. The reason to refuse the candidate, if there is one."""
        await self._reach(self._read(latencies=False))
        return self._judge.tick(self._seen)

    async def _measure(self, *, settling: bool) -> str | None:
        """Count with durations, and report the step's progress. The reason to refuse the candidate, if there is one."""
        await self._reach(self._read(latencies=True))
        reason = self._judge.measure(self._seen, time.monotonic(), settling=settling)
        await self._progress.tell(NAME, self._judge.progress())
        return reason

    async def _end_step(self, candidate: Candidate) -> None:
        """Judge the step. With too little traffic for that, the gates decide, which are asked again."""
        step = self._judge.end_step()
        if step.judged:
            await self._progress.tell(NAME, str(step))
            return
        await self._progress.tell(
            NAME, f"{step}; not judged under {LEAST_REQUESTS} requests, so the gates are asked again"
        )
        try:
            await self._progress.prove_again(candidate)
        except RolloutFailed as refused:
            await self._lost(f"at {step.percent} %: {refused.message}")
            raise

    async def _refuse(self, percent: int, reason: str) -> None:
        detail = f"at {percent} %: {reason}"
        await self._lost(detail)
        raise RolloutFailed(f"the canary refused it {detail}")

    async def _lost(self, detail: str) -> None:
        """Give all requests back to the old release, then record why: a full disk delays the record."""
        await uninterrupted(self._gateway.call_back(self._app.name))
        await self._progress.judged(GateResult(NAME, "failed", detail, self._judge.figures(), moment="canary"))

    def _result(self) -> GateResult:
        """The recorded result of a canary that did not fail."""
        steps = self._judge.steps
        unjudged = [f"{step.percent} %" for step in steps if not step.judged]
        verdict: Verdict = "not_judged" if len(unjudged) == len(steps) else "passed"
        detail = "; ".join(str(step) for step in steps)
        if unjudged:
            detail += f"; too few requests for a verdict at {', '.join(unjudged)}"
        if self._judge.refuses_more:
            verdict, detail = "warned", f"it answers more often with 4xx than the old release; {detail}"
        return GateResult(NAME, verdict, detail, self._judge.figures(), moment="canary")

    @property
    def _seen(self) -> Both:
        return Both(self._window.of(str(self._new)), self._window.of(str(self._old)))

    async def _read(self, *, latencies: bool) -> None:
        self._window.add(await self._gateway.reading(self._app.name, latencies=latencies))

    async def _reach(self, asking: Coroutine[Any, Any, None]) -> None:
        """Ask the gateway; it may be away for a moment, as while the engine starts it again."""
        try:
            await asking
        except Unavailable:
            if time.monotonic() - self._heard > LOAN_SECONDS:
                raise
        else:
            self._heard = time.monotonic()
