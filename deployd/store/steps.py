"""The steps of deploys: their names, times, status and progress."""

import logging
import sqlite3
import time

from deployd.domain import Deploy, StepStatus
from deployd.errors import Unavailable
from deployd.store.table import Table

logger = logging.getLogger(__name__)


class Steps(Table):
    """Records steps when they begin and end."""

    async def begin_step(self, deploy: Deploy, name: str, log_start: int | None = None) -> int:
        """Record that a step runs, and the byte of the log at which it begins; returns its position for `end_step`."""

        def work(connection: sqlite3.Connection) -> int:
            (position,) = connection.execute(
                "SELECT coalesce(max(position), 0) + 1 FROM steps WHERE app = ? AND number = ?",
                (deploy.app, deploy.number),
            ).fetchone()
            connection.execute(
                "INSERT INTO steps (app, number, position, name, status, started_at, log_start)"
                " VALUES (?, ?, ?, ?, 'running', ?, ?)",
                (deploy.app, deploy.number, position, name, time.time(), log_start),
            )
            return int(position)

        position = await self._write_until_done(work)
        self._events.publish("step", deploy.app, deploy.number, {"name": name, "status": "running"})
        return position

    async def record_detail(self, deploy: Deploy, position: int, name: str, detail: str) -> None:
        """Record the progress of a step. If the disk refuses it, only a warning is logged."""
        query = "UPDATE steps SET detail = ? WHERE app = ? AND number = ? AND position = ?"
        values = (detail, deploy.app, deploy.number, position)
        try:
            await self._database.write(lambda connection: connection.execute(query, values).rowcount)
        except Unavailable as exc:
            logger.warning("Cannot record the progress of a step: %s (%s)", exc, exc.hint)
        data = {"name": name, "status": "running", "detail": detail}
        self._events.publish("step", deploy.app, deploy.number, data)

    async def end_step(
        self, deploy: Deploy, position: int, name: str, status: StepStatus, log_end: int | None = None
    ) -> None:
        """Record how a step ended, and the byte of the log at which it does."""
        query = (
            "UPDATE steps SET status = ?, finished_at = ?, log_end = ? WHERE app = ? AND number = ? AND position = ?"
        )
        values = (status, time.time(), log_end, deploy.app, deploy.number, position)
        await self._write_until_done(lambda connection: connection.execute(query, values).rowcount)
        self._events.publish("step", deploy.app, deploy.number, {"name": name, "status": status})

    async def end_interrupted_steps(self) -> None:
        """At start, end the steps that were running when the last daemon died."""
        query = "UPDATE steps SET status = 'cancelled', finished_at = ? WHERE status = 'running'"
        await self._write_until_done(lambda connection: connection.execute(query, (time.time(),)).rowcount)
