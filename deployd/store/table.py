"""What the tables have in common: one database, one stream of events, and patience with a disk that refuses.

What a deploy in flight must record is written again and again until the disk takes it: a switch that happened is a fact.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from deployd.domain import Deploy
from deployd.errors import Unavailable
from deployd.events import Events
from deployd.store.database import Database

T = TypeVar("T")
logger = logging.getLogger(__name__)

_RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)


class Table:
    """One part of the store. The parts share what they are made with."""

    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events
        self._impatient = asyncio.Event()

    def stop_waiting(self) -> None:
        """The daemon stops: from now on a write that the disk refuses is Unavailable, and the next start sees what is so."""
        self._impatient.set()

    async def _patiently(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Write until the disk takes it, or the daemon stops."""
        failures = 0
        while True:
            try:
                return await self._database.write(work)
            except Unavailable as exc:
                if self._impatient.is_set():
                    raise
                if failures == 0:
                    logger.error("Cannot record, and go on trying: %s (%s)", exc, exc.hint)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)]):
                        await self._impatient.wait()
                failures += 1

    def _tell(self, deploy: Deploy) -> None:
        data = {"status": deploy.status.value, "commit": deploy.commit, "reason": deploy.reason}
        self._events.publish("deploy.status", deploy.app, deploy.number, data)
