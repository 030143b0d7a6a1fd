"""What can be asked of the store: deploys, the state of apps, what waits. Reading only, and cheap however long the history is."""

import json
import sqlite3
from collections.abc import Iterable

from deployd.domain import AppState, Deploy, Image, Kept
from deployd.store.database import Database
from deployd.store.rows import deploy_of
from deployd.store.schema import IN_FLIGHT
from deployd.wanted import Known

_LAST = 1000


class History:
    """Questions about deploys; every answer sees all that was committed before the question."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def deploys(self, app: str, limit: int = 50, before: int | None = None) -> list[Deploy]:
        """The app's newest deploys first, those with a number below `before` if given; without their steps."""

        def ask(connection: sqlite3.Connection) -> list[Deploy]:
            rows = connection.execute(
                "SELECT * FROM deploys WHERE app = ? AND number < ? ORDER BY number DESC LIMIT ?",
                (app, before if before is not None else 1 << 62, limit),
            )
            return [deploy_of(row) for row in rows]

        return await self._database.read(ask)

    async def deploy(self, app: str, number: int) -> Deploy | None:
        """One deploy with its steps."""
        return await self._database.read(lambda connection: one_deploy(connection, app, number))

    async def latest_of(self, app: str, commit: str) -> Deploy | None:
        """The newest deploy of that commit, but not one that was superseded while it waited."""
        begun = "SELECT * FROM deploys INDEXED BY by_commit WHERE app = ? AND sha = ? AND started_at IS NOT NULL"
        waiting = "SELECT * FROM deploys INDEXED BY waiting WHERE app = ? AND sha = ? AND status = 'queued'"
        query = f"{begun} UNION ALL {waiting} ORDER BY number DESC LIMIT 1"
        return await self._first(query, (app, commit, app, commit))

    async def told_before(self, app: str, commit: str, number: int) -> bool:
        """Whether one of the last deploys before `number` was of that commit, be it that it never began."""
        query = "SELECT 1 FROM deploys WHERE app = ? AND number < ? AND number >= ? AND sha = ?"
        values = (app, number, number - _LAST, commit)
        return await self._database.read(lambda connection: connection.execute(query, values).fetchone() is not None)

    async def choice(self, app: str, before: int | None = None) -> Deploy | None:
        """What a person asked for last, by hand or as a rollback, of the live release and what came after it (and has a number
        below `before`, if given)."""
        query = (
            "SELECT * FROM deploys WHERE app = ? AND number < ? AND trigger_kind IN ('manual', 'rollback') AND number >= "
            "(SELECT coalesce(max(number), 0) FROM deploys WHERE app = ? AND status = 'live') ORDER BY number DESC LIMIT 1"
        )
        return await self._first(query, (app, before if before is not None else 1 << 62, app))

    async def previous(self, app: str, number: int) -> Deploy | None:
        """The newest release before deploy `number` that was live and was not itself taken back."""
        return await self._database.read(lambda connection: _release_before(connection, app, number))

    async def released(self, app: str, limit: int = 50) -> list[Deploy]:
        """Deploys that are or were live, newest first: what can be gone back to."""

        def ask(connection: sqlite3.Connection) -> list[Deploy]:
            rows = connection.execute(
                "SELECT * FROM deploys WHERE app = ? AND live_at IS NOT NULL ORDER BY number DESC LIMIT ?", (app, limit)
            )
            return [deploy_of(row) for row in rows]

        return await self._database.read(ask)

    async def state(self, app: str) -> AppState:
        """What is remembered of one app; an app never seen before is just empty."""
        return await self._database.read(lambda connection: app_state(connection, app))

    async def states(self, apps: Iterable[str]) -> list[AppState]:
        """The same for several, in one reading."""
        names = list(apps)
        return await self._database.read(lambda connection: [app_state(connection, name) for name in names])

    async def known_apps(self) -> list[str]:
        """Every app that ever had a deploy and was not removed, configured or not."""

        def ask(connection: sqlite3.Connection) -> list[str]:
            return [name for (name,) in connection.execute("SELECT name FROM apps ORDER BY name")]

        return await self._database.read(ask)

    async def known_head(self, app: str) -> Known:
        """What is remembered of the branch that an app follows."""
        return await self._database.read(lambda connection: known_head(connection, app))

    async def newest_waiting(self, app: str) -> int:
        """The number of the newest queued deploy, 0 when nothing waits."""

        def ask(connection: sqlite3.Connection) -> int:
            row = connection.execute(
                "SELECT max(number) FROM deploys INDEXED BY waiting WHERE app = ? AND status = 'queued'", (app,)
            )
            return row.fetchone()[0] or 0

        return await self._database.read(ask)

    async def kept(self, app: str) -> Kept:
        """The images that must stay: of the live release, of the ones before it, of which one is where a rollback goes, and of
        what is queued or in flight; of that the commits, too, as its image may not be recorded yet."""

        def ask(connection: sqlite3.Connection) -> Kept:
            live = connection.execute("SELECT number FROM deploys WHERE app = ? AND status = 'live'", (app,)).fetchone()
            previous = _release_before(connection, app, live["number"]) if live else None
            rows = connection.execute(
                "SELECT * FROM (SELECT NULL AS coming, image FROM deploys WHERE app = ? AND live_at IS NOT NULL "
                "ORDER BY number DESC LIMIT 2) "
                f"UNION SELECT sha, image FROM deploys WHERE app = ? AND {IN_FLIGHT} "
                "UNION SELECT NULL, image FROM deploys WHERE app = ? AND status = 'live' "
                "UNION SELECT sha, image FROM deploys INDEXED BY waiting WHERE app = ? AND status = 'queued'",
                (app, app, app, app),
            ).fetchall()
            images = [Image(**json.loads(row["image"])) for row in rows if row["image"]]
            if previous is not None and previous.image is not None:
                images.append(previous.image)
            return Kept(images, frozenset(row["coming"] for row in rows if row["coming"]))

        return await self._database.read(ask)

    async def _first(self, query: str, values: tuple[object, ...]) -> Deploy | None:
        def ask(connection: sqlite3.Connection) -> Deploy | None:
            row = connection.execute(query, values).fetchone()
            return deploy_of(row) if row else None

        return await self._database.read(ask)


def _release_before(connection: sqlite3.Connection, app: str, number: int) -> Deploy | None:
    row = connection.execute(
        "SELECT * FROM deploys WHERE app = ? AND number < ? AND live_at IS NOT NULL AND status = 'retired' "
        "AND sha != (SELECT sha FROM deploys WHERE app = ? AND number = ?) ORDER BY number DESC LIMIT 1",
        (app, number, app, number),
    ).fetchone()
    return deploy_of(row) if row else None


def one_deploy(connection: sqlite3.Connection, app: str, number: int) -> Deploy | None:
    """A deploy with its steps, on any connection."""
    row = connection.execute("SELECT * FROM deploys WHERE app = ? AND number = ?", (app, number)).fetchone()
    if row is None:
        return None
    steps = connection.execute("SELECT * FROM steps WHERE app = ? AND number = ? ORDER BY position", (app, number))
    return deploy_of(row, steps)


def known_head(connection: sqlite3.Connection, app: str) -> Known:
    """What is remembered of an app's branch, on any connection."""
    row = connection.execute("SELECT seen_commit, declined, stands_on FROM apps WHERE name = ?", (app,)).fetchone()
    return Known(*row) if row else Known()


def app_state(connection: sqlite3.Connection, app: str) -> AppState:
    """The state of an app, put together from its row and its deploys: nothing of it is stored twice."""
    row = connection.execute("SELECT * FROM apps WHERE name = ?", (app,)).fetchone()
    if row is None:
        return AppState(app)

    def find(condition: str) -> Deploy | None:
        found = connection.execute(f"SELECT * FROM deploys WHERE app = ? AND {condition}", (app,)).fetchone()
        return deploy_of(found) if found else None

    live, in_flight = find("status = 'live'"), find(IN_FLIGHT)
    (queued,) = connection.execute(
        "SELECT count(*) FROM deploys INDEXED BY waiting WHERE app = ? AND status = 'queued'", (app,)
    ).fetchone()
    held = None
    if row["seen_commit"] and live and live.commit != row["seen_commit"] and in_flight is None and not queued:
        held = _why_held(connection, app, row["seen_commit"])
    return AppState(
        app,
        paused=bool(row["paused"]),
        held_commit=row["seen_commit"] if held is not None else None,
        held_reason=held or "",
        live=live,
        in_flight=in_flight,
        queued=queued,
    )


def _why_held(connection: sqlite3.Connection, app: str, commit: str) -> str:
    """Why the app stays where it is although `commit` is the head that was last asked for."""
    row = connection.execute(
        "SELECT number, status, reason FROM deploys WHERE app = ? AND sha = ? AND started_at IS NOT NULL "
        "ORDER BY number DESC LIMIT 1",
        (app, commit),
    ).fetchone()
    if row is None or row["status"] == "retired":
        return "another release was asked for by hand"
    return f"{app}/{row['number']} {row['status']}" + (f": {row['reason']}" if row["reason"] else "")
