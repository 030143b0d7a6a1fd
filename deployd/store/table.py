"""The base of all tables: the database, the events, and writes that are tried again until the disk accepts them.

A deploy in flight must record what happened, such as a switch, so its writes are tried again until they succeed.
"""

import asyncio
import contextlib
import json
import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from deployd.domain import Deploy, GateResult
from deployd.errors import Unavailable
from deployd.events import Events
from deployd.store.database import Database
from deployd.store.rows import gates_json

T = TypeVar("T")
logger = logging.getLogger(__name__)

_RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)


class Table:
    """One part of the store. All parts share the database and the events."""

    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events
        self._stopping = asyncio.Event()

    def stop_waiting(self) -> None:
        """Prepare for shutdown: from now on a refused write raises Unavailable. The next start recovers from the real state."""
        self._stopping.set()

    async def _write_until_done(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Try to write until the disk accepts it or the daemon stops."""
        failures = 0
        while True:
            try:
                return await self._database.write(work)
            except Unavailable as exc:
                if self._stopping.is_set():
                    raise
                if failures == 0:
                    logger.error("Cannot write the state; trying again: %s (%s)", exc, exc.hint)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)]):
                        await self._stopping.wait()
                failures += 1

    def _tell(self, deploy: Deploy) -> None:
        data = {"status": deploy.status.value, "commit": deploy.commit, "reason": deploy.reason}
        self._events.publish("deploy.status", deploy.app, deploy.number, data)

    def _tell_gates(self, deploy: Deploy, gates: Sequence[GateResult]) -> None:
        self._events.publish("gate", deploy.app, deploy.number, {"gates": json.loads(gates_json(gates))})
