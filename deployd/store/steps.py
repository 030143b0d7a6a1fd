"""The steps of deploys: their names, times, status and progress."""

import logging
import sqlite3
import statistics
import time
from collections.abc import Iterable

from deployd.domain import Deploy, Step, StepStatus
from deployd.errors import Unavailable
from deployd.store.rows import step_of
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

    async def steps_of(self, app: str, numbers: Iterable[int]) -> dict[int, tuple[Step, ...]]:
        """The steps of several deploys of an app, by number."""
        wanted = list(numbers)
        query = "SELECT * FROM steps WHERE app = ? AND number = ? ORDER BY position"
        return await self._database.read(
            lambda connection: {
                number: tuple(map(step_of, connection.execute(query, (app, number)).fetchall())) for number in wanted
            }
        )

    async def usual(self, apps: Iterable[str]) -> dict[str, dict[str, float]]:
        """For each app, the median seconds that each step took in its last releases, up to the switch; in their order."""
        names = list(apps)
        return await self._database.read(lambda connection: {app: _usual(connection, app) for app in names})

    async def end_interrupted_steps(self) -> None:
        """At start, end the steps that were running when the last daemon died."""
        query = "UPDATE steps SET status = 'cancelled', finished_at = ? WHERE status = 'running'"
        await self._write_until_done(lambda connection: connection.execute(query, (time.time(),)).rowcount)


def _usual(connection: sqlite3.Connection, app: str) -> dict[str, float]:
    """The median seconds of each step in the last ten releases. Rollbacks are left out, since they do not build."""
    rows = connection.execute(
        "SELECT steps.name, finished_at - started_at AS seconds FROM steps JOIN (SELECT number, live_at FROM deploys "
        "WHERE app = ?1 AND live_at IS NOT NULL AND rollback_to IS NULL AND trigger_kind != 'restart' "
        "ORDER BY number DESC LIMIT 10) AS releases USING (number) "
        "WHERE app = ?1 AND steps.status = 'done' AND steps.started_at < live_at ORDER BY number DESC, position",
        (app,),
    ).fetchall()
    took: dict[str, list[float]] = {}
    for row in rows:
        took.setdefault(row["name"], []).append(row["seconds"])
    return {name: statistics.median(lengths) for name, lengths in took.items()}
