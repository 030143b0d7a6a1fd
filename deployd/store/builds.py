"""The builds: the images that this instance made, with their names. Only images that are recorded here may be removed.

A build is recorded before it begins, so that even the remains of a crash are known.
"""

import sqlite3
import time
from collections.abc import Sequence
from datetime import datetime

from deployd.domain import Build, Deploy, Image
from deployd.store.releases import kept_of
from deployd.store.rows import build_of, image_json, moment
from deployd.store.table import Table

_OF_APP = "SELECT * FROM builds WHERE app = ?"


class Builds(Table):
    """One row for each build whose image was not removed."""

    async def begin_build(self, deploy: Deploy, name: str, settings: str) -> int:
        """Record that an image is built under that name (`name:tag`), with those settings; the number of the build."""
        query = "INSERT INTO builds (app, number, sha, name, settings, began_at) VALUES (?, ?, ?, ?, ?, ?) RETURNING id"
        row = (deploy.app, deploy.number, deploy.commit, name, settings, time.time())
        return await self._write_until_done(lambda connection: int(connection.execute(query, row).fetchone()[0]))

    async def end_build(self, deploy: Deploy, build: int, image: Image, pulled_at: datetime | None) -> None:
        """Record the image that was built, for the build and its deploy; `pulled_at`: when its base images were pulled last."""

        def work(connection: sqlite3.Connection) -> None:
            pulled = pulled_at.timestamp() if pulled_at is not None else None
            built = image_json(image)
            connection.execute("UPDATE builds SET image = ?, pulled_at = ? WHERE id = ?", (built, pulled, build))
            change = "UPDATE deploys SET image = ? WHERE app = ? AND number = ?"
            connection.execute(change, (built, deploy.app, deploy.number))

        await self._write_until_done(work)

    async def built(self, app: str, commit: str, settings: str) -> Sequence[Build]:
        """The images of a commit that were built with those settings, newest first."""
        query = f"{_OF_APP} AND sha = ? AND settings = ? AND image IS NOT NULL AND NOT going ORDER BY id DESC"
        return await self._builds(query, app, commit, settings)

    async def builds(self, app: str) -> Sequence[Build]:
        """All builds of an app, newest first."""
        return await self._builds(f"{_OF_APP} ORDER BY id DESC", app)

    async def last_pull(self, app: str) -> datetime | None:
        """When the base images of an app were pulled last."""
        query = "SELECT max(pulled_at) FROM builds WHERE app = ?"
        return await self._database.read(lambda connection: moment(connection.execute(query, (app,)).fetchone()[0]))

    async def let_go(self, build: Build, *, needed: bool = False) -> bool:
        """Mark a build for removal, so that no deploy reuses it from then on. False when a release or deploy needs it; with
        `needed`, as when its app is removed, it is marked anyway."""

        def work(connection: sqlite3.Connection) -> bool:
            if not needed and kept_of(connection, build.app).holds(build):
                return False
            return connection.execute("UPDATE builds SET going = 1 WHERE id = ?", (build.id,)).rowcount > 0

        return await self._write_until_done(work)

    async def keep(self, build: Build) -> None:
        """Undo `let_go`: the build stays."""
        query = "UPDATE builds SET going = 0 WHERE id = ?"
        await self._write_until_done(lambda connection: connection.execute(query, (build.id,)).rowcount)

    async def forget_build(self, build: int) -> None:
        """Forget a build whose image is gone."""
        query = "DELETE FROM builds WHERE id = ?"
        await self._write_until_done(lambda connection: connection.execute(query, (build,)).rowcount)

    async def _builds(self, query: str, *values: str) -> Sequence[Build]:
        return await self._database.read(
            lambda connection: [build_of(row) for row in connection.execute(query, values)]
        )
