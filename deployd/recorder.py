"""The steps of one deploy, recorded as they go: in the store, in the log and as a metric."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from deployd.domain import Deploy
from deployd.errors import Unavailable
from deployd.metrics import DEPLOY_SECONDS
from deployd.ports.log import MarkedLog
from deployd.store.store import Store


class Recorder:
    """Records the steps of `deploy`."""

    def __init__(self, store: Store, deploy: Deploy, log: MarkedLog) -> None:
        self.log = log
        self.deploy = deploy
        self._store = store
        self._running: dict[str, int] = {}  # the steps under way, and their positions

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        """Record a step around the block, and log how it ended."""
        start = self.log.mark()
        self.log.write(f"==> {name}\n")
        position = self._running[name] = await self._store.begin_step(self.deploy, name, start)
        began = time.monotonic()
        try:
            yield
        except asyncio.CancelledError:
            with suppress(Unavailable):  # the disk refuses: the next start ends what was interrupted
                await self._store.end_step(self.deploy, position, name, "cancelled", self.log.mark())
            raise
        except Exception:
            await self._store.end_step(self.deploy, position, name, "failed", self.log.mark())
            raise
        finally:
            del self._running[name]
        took = time.monotonic() - began
        self.log.write(f"<== {name} took {took:.2f} s\n")
        await self._store.end_step(self.deploy, position, name, "done", self.log.mark())
        DEPLOY_SECONDS.labels(self.deploy.app, name).observe(took)

    async def tell(self, step: str, text: str) -> None:
        """Say how far the step has come: in the log, and with the step itself."""
        self.log.write(f"{text}\n")
        await self._store.record_detail(self.deploy, self._running[step], step, text)
