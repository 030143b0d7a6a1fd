"""The versions of registered models that were fetched: the hash of each file, as it was the first time."""

import json
import sqlite3
import time
from collections.abc import Mapping

from deployd.goal import ModelVersion
from deployd.store.rows import as_json, registered_json
from deployd.store.table import Table

_KEPT = 10_000


class Models(Table):
    """One row for each version, the last ten thousand."""

    async def model_files(self, version: ModelVersion) -> Mapping[str, str] | None:
        """Path -> SHA-256 of the files of a version; None when it was never fetched."""
        query = "SELECT files FROM models WHERE registered = ?"

        def ask(connection: sqlite3.Connection) -> Mapping[str, str] | None:
            row = connection.execute(query, (registered_json(version),)).fetchone()
            return dict(json.loads(row["files"])) if row is not None else None

        return await self._database.read(ask)

    async def record_model_files(self, version: ModelVersion, files: Mapping[str, str]) -> None:
        """Record the files of a version; what was recorded before stays. Raises Unavailable."""

        def work(connection: sqlite3.Connection) -> None:
            query = "INSERT OR IGNORE INTO models (registered, files, fetched_at) VALUES (?, ?, ?)"
            connection.execute(query, (registered_json(version), as_json(dict(files)), time.time()))
            connection.execute("DELETE FROM models WHERE id <= (SELECT max(id) FROM models) - ?", (_KEPT,))

        await self._database.write(work)
