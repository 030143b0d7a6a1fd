"""The pipeline's side of one roll-out: it answers the target's questions and records its progress. Implements ports.Progress.

The gates are asked here, and the hooks before the switch; every verdict is recorded as it comes.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

from msgspec import structs

from deployd.config.app import App
from deployd.domain import Deploy, GateResult, Image, Moment
from deployd.errors import RolloutFailed
from deployd.gates.own import Facts
from deployd.hooks import run_hooks
from deployd.logs.logs import Logs
from deployd.metrics import GATES
from deployd.ports.builder import Builder
from deployd.ports.gate import Candidate, Gate
from deployd.ports.log import MarkedLog
from deployd.ports.models import Models
from deployd.ports.source import Context, Source
from deployd.ports.target import Target
from deployd.probe import provenance
from deployd.recorder import Recorder
from deployd.returning import is_watched
from deployd.status import Status
from deployd.store.store import Store

MayCutOver = Callable[[], Awaitable[bool]]

_ASKED_AGAIN = frozenset({"ready", "golden"})


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a pipeline. `gates` gives an app's gates in the order in which they are asked."""

    store: Store
    logs: Logs
    source: Source
    builder: Builder
    targets: Mapping[str, Target]
    gates: Callable[[App], Sequence[Gate]]
    models: Models


class Passage(Recorder):
    """One deploy while it rolls out: answers its target and records its progress. Implements ports.Progress."""

    def __init__(self, parts: Parts, app: App, deploy: Deploy, log: MarkedLog, may_cut_over: MayCutOver) -> None:
        super().__init__(parts.store, deploy, log)
        self.context: Context | None = None
        self._results: dict[tuple[str, Moment], GateResult] = {}
        self._gates: Sequence[Gate] = ()
        self._prepared = AsyncExitStack()
        self._parts = parts
        self._app = app
        self._may_cut_over = may_cut_over

    async def pushed(self, image: Image) -> None:
        """Record the image with the digest that the registry gave it."""
        await self._store.record_image(self.deploy, image)

    async def read(self, path: str) -> bytes | None:
        """A file of the commit, which is fetched first if the deploy builds nothing."""
        if self.context is not None:
            return await self.context.read(path)
        async with await self._parts.source.fetch(self._app, self.deploy.commit, self.deploy.ref, self.log) as context:
            return await context.read(path)

    async def let_gates_get_ready(self) -> None:
        """Start the gates that need time to get ready, so that they do so during the build."""
        if not self._gates:
            self._gates = self._parts.gates(self._app)
            chosen = self.deploy.rollback_to is not None  # then only what needs no time is asked
            for gate in self._gates:
                if isinstance(gate, AbstractAsyncContextManager) and not chosen:
                    await self._prepared.enter_async_context(gate)

    async def let_gates_go(self) -> None:
        """Stop the gates that `let_gates_get_ready` started."""
        self._gates = ()
        await self._prepared.aclose()

    async def prove(self, candidate: Candidate) -> None:
        """Ask the gates in turn; the first that refuses ends it. The first asks whether the candidate is ready: what it says of
        its model is recorded then."""
        await self.let_gates_get_ready()
        try:
            await self._ask_in_steps(self._gates[:1], candidate)
            if model := await provenance(candidate.address, candidate.app.ready, candidate.headers):
                await self._store.record_model(self.deploy, model)
            await self._ask_in_steps(self._gates[1:], candidate)
        finally:
            await self.let_gates_go()
        if not self.deploy.prove:
            await run_hooks("before", Facts.of(candidate), self)

    async def _ask_in_steps(self, gates: Sequence[Gate], candidate: Candidate) -> None:
        for gate in gates:
            async with self.step(gate.name):
                await self._ask(gate, candidate, "before")

    async def prove_again(self, candidate: Candidate) -> None:
        """Ask the gates that need only the candidate again: its requests are too few to judge it by, or nobody counts them."""
        for gate in self._parts.gates(self._app):
            if gate.name in _ASKED_AGAIN:
                await self._ask(gate, candidate, "canary")

    async def judged(self, result: GateResult) -> None:
        """Record a verdict; a later one of the same gate at the same moment replaces it."""
        result = structs.replace(result, detail=self.log.redact(result.detail))
        self._results[result.name, result.moment] = result
        self.log.write(f"{result.name} {result.verdict}: {result.detail}\n")
        await self._store.record_gates(self.deploy, list(self._results.values()))
        GATES.labels(self.deploy.app, result.name, result.verdict).inc()

    async def _ask(self, gate: Gate, candidate: Candidate, moment: Moment) -> None:
        result = structs.replace(await gate.ask(candidate, self.context, self.log), moment=moment)
        await self.judged(result)
        if result.verdict == "failed":
            when = ", asked again in the canary," if moment == "canary" else ""
            raise RolloutFailed(f"the {result.name} gate{when} refused it: {result.detail}")

    async def cutting_over(self) -> None:
        """Record `rolling_out`, unless a newer deploy waits: an older one must not overwrite it."""
        if not await self._may_cut_over():
            raise asyncio.CancelledError
        await self._store.advance(self.deploy, Status.ROLLING_OUT)

    async def serving(self) -> None:
        """Record `live`."""
        await self._store.advance(self.deploy, Status.LIVE, watched=is_watched(self._app, self.deploy))
        self.log.write(f"{self.deploy.name} is live\n")
