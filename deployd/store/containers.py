"""The containers that this instance made, by the engine's ids. Only containers that are recorded here may be removed.

A row stays after its container was removed, so that a container that a person makes under that name is not taken for ours.
"""

import sqlite3

from deployd.store.table import Table


class Containers(Table):
    """One row for each deploy that has had a container. Implements ports.Made."""

    async def made(self, app: str, number: int) -> str | None:
        """The id of the container that was made last for a deploy; None when none is recorded."""

        def work(connection: sqlite3.Connection) -> str | None:
            query = "SELECT id FROM containers WHERE app = ? AND number = ?"
            row = connection.execute(query, (app, number)).fetchone()
            return None if row is None else str(row["id"])

        return await self._database.read(work)

    async def record_made(self, app: str, number: int, container: str) -> None:
        """Record the container of a deploy."""
        query = "INSERT OR REPLACE INTO containers (app, number, id) VALUES (?, ?, ?)"
        await self._write_until_done(lambda connection: connection.execute(query, (app, number, container)).rowcount)

    async def forget_made(self, app: str, number: int) -> None:
        """Forget the container of a deploy, before another is made."""
        query = "DELETE FROM containers WHERE app = ? AND number = ?"
        await self._write_until_done(lambda connection: connection.execute(query, (app, number)).rowcount)
