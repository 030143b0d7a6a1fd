"""The last acts of people on each app besides deploys, with their names."""

import logging
import sqlite3
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from deployd.act import Act, Done
from deployd.errors import Unavailable
from deployd.store.table import Table

_KEPT = 20
_SHOWN = 5

logger = logging.getLogger(__name__)


class Acts(Table):
    """One row for each act, the last 20 of an app."""

    async def record_act(self, apps: Iterable[str], done: Done, by: str | None, detail: str = "") -> None:
        """Record an act. When the disk refuses it, that is only logged: the act itself has been done."""
        names = list(apps)

        def work(connection: sqlite3.Connection) -> None:
            for name in names:
                write_act(connection, name, done, by, detail)

        try:
            await self._database.write(work)
        except Unavailable as exc:
            logger.warning("Cannot record that %s %s %s: %s", by, done, ", ".join(names), exc.message)
        for name in names:
            self._events.publish("app", name, None, {done: detail})


def write_act(connection: sqlite3.Connection, app: str, done: Done, by: str | None, detail: str = "") -> None:
    """Add an act, and forget the oldest ones of the app."""
    values = (app, time.time(), by, done, detail)
    connection.execute("INSERT INTO acts (app, at, who, done, detail) VALUES (?, ?, ?, ?, ?)", values)
    connection.execute(
        "DELETE FROM acts WHERE app = ?1 AND id <= "
        "(SELECT id FROM acts WHERE app = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
        (app, _KEPT),
    )


def last_acts(connection: sqlite3.Connection, app: str) -> tuple[Act, ...]:
    """The last few acts, the newest first."""
    query = "SELECT at, who, done, detail FROM acts WHERE app = ? ORDER BY id DESC LIMIT ?"
    rows = connection.execute(query, (app, _SHOWN)).fetchall()
    return tuple(Act(datetime.fromtimestamp(row["at"], UTC), row["who"], row["done"], row["detail"]) for row in rows)
