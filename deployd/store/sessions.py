"""The browsers that are logged in. Of a cookie only a hash is kept, so that a copy of the database logs nobody in."""

import sqlite3
import time
from datetime import UTC, datetime

from deployd.session import WHOLE, Session
from deployd.store.table import Table


class Sessions(Table):
    """One row for each login, until its end."""

    async def begin_session(self, key: str, token: str) -> None:
        """Record a login under the hash of its cookie, and delete expired ones. Raises Unavailable."""

        def work(connection: sqlite3.Connection) -> None:
            now = time.time()
            connection.execute("DELETE FROM sessions WHERE began_at < ?", (now - WHOLE.total_seconds(),))
            connection.execute(
                "INSERT INTO sessions (id, token, began_at, seen_at) VALUES (?, ?, ?, ?)", (key, token, now, now)
            )

        await self._database.write(work)

    async def session(self, key: str) -> Session | None:
        """The login with that hash."""
        query = "SELECT * FROM sessions WHERE id = ?"
        row = await self._database.read(lambda connection: connection.execute(query, (key,)).fetchone())
        if row is None:
            return None
        began, seen = (datetime.fromtimestamp(row[column], UTC) for column in ("began_at", "seen_at"))
        return Session(row["token"], began, seen)

    async def use_session(self, key: str) -> None:
        """Record that a login is in use. Raises Unavailable."""
        query = "UPDATE sessions SET seen_at = ? WHERE id = ?"
        await self._database.write(lambda connection: connection.execute(query, (time.time(), key)).rowcount)

    async def end_session(self, key: str) -> None:
        """Forget a login. Raises Unavailable."""
        query = "DELETE FROM sessions WHERE id = ?"
        await self._database.write(lambda connection: connection.execute(query, (key,)).rowcount)
