"""What one deploy tells on its way: its steps, what its gates said, the moment of the cut-over. Implements ports.Progress."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from msgspec import structs

from deployd.domain import Deploy, GateResult, Image, Status
from deployd.errors import RolloutFailed, Unavailable
from deployd.metrics import DEPLOY_SECONDS
from deployd.ports import Candidate, Context, Gate, Log
from deployd.probe import provenance
from deployd.store.store import Store
from deployd.wanted import Outdated


class DeployProgress:
    """Records one deploy. `outrun` says whether something newer waits that this deploy has to make way for."""

    def __init__(
        self,
        store: Store,
        deploy: Deploy,
        log: Log,
        gates: Sequence[Gate],
        outrun: Callable[[], Awaitable[bool]],
    ) -> None:
        self.log = log
        self._store = store
        self._deploy = deploy
        self._gates = gates
        self._outrun = outrun
        self._running: dict[str, int] = {}  # the steps under way, and their positions
        self.context: Context | None = None

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        """Record a step around the block; its last words go to the log."""
        position = self._running[name] = await self._store.begin_step(self._deploy, name)
        began = time.monotonic()
        self.log.write(f"==> {name}\n")
        try:
            yield
        except (asyncio.CancelledError, Outdated):
            with suppress(Unavailable):  # the disk refuses: the next start ends what was interrupted
                await self._store.end_step(self._deploy, position, name, "cancelled")
            raise
        except Exception:
            await self._store.end_step(self._deploy, position, name, "failed")
            raise
        finally:
            del self._running[name]
        took = time.monotonic() - began
        await self._store.end_step(self._deploy, position, name, "done")
        DEPLOY_SECONDS.labels(self._deploy.app, name).observe(took)
        self.log.write(f"<== {name} took {took:.2f} s\n")

    async def tell(self, step: str, text: str) -> None:
        """Say how far the step has come: in the log, and with the step itself."""
        self.log.write(f"{text}\n")
        await self._store.record_detail(self._deploy, self._running[step], step, text)

    async def prove(self, candidate: Candidate) -> None:
        """Ask the gates in turn; the first that refuses ends it. Then record what the candidate says of its model."""
        results: list[GateResult] = []
        for gate in self._gates:
            async with self.step(gate.name):
                result = await gate.ask(candidate, self.context, self.log)
                result = structs.replace(result, detail=self.log.redact(result.detail))
                results.append(result)
                self.log.write(f"{result.name} {result.verdict}: {result.detail}\n")
                await self._store.record_gates(self._deploy, results)
                if result.verdict == "failed":
                    raise RolloutFailed(f"the {result.name} gate refused it: {result.detail}")
        if model := await provenance(candidate.address, candidate.app.ready):
            await self._store.record_model(self._deploy, model)

    async def pushed(self, image: Image) -> None:
        """Record the image with the digest that the registry gave it."""
        await self._store.record_image(self._deploy, image)

    async def cutting_over(self) -> None:
        """Record `rolling_out`, unless something newer waits."""
        if await self._outrun():
            raise asyncio.CancelledError
        await self._store.advance(self._deploy, Status.ROLLING_OUT)

    async def serving(self) -> None:
        """Record `live`."""
        await self._store.advance(self._deploy, Status.LIVE)
        self.log.write(f"{self._deploy.name} is live\n")
