"""What is remembered of each app: paused or not, the head that was decided upon last, the looks that are owed."""

import json
import sqlite3
import time
from collections.abc import Iterable

from deployd.delivery import Owed
from deployd.domain import AppState, Deploy, Head, Known, Skip, Wanted
from deployd.store.deploys import queue
from deployd.store.rows import deploy_of, moment
from deployd.store.schema import IN_FLIGHT
from deployd.store.table import Table

_MOST_OWED = 200
_NEWEST = (
    "SELECT number, sha FROM deploys WHERE app = ?1 AND status = 'live' "
    f"UNION ALL SELECT number, sha FROM deploys WHERE app = ?1 AND {IN_FLIGHT} "
    "UNION ALL SELECT number, sha FROM deploys INDEXED BY waiting WHERE app = ?1 AND status = 'queued' "
    "ORDER BY number DESC LIMIT 1"
)


class Apps(Table):
    """One row for each app; nothing that deploys say is stored twice."""

    async def known(self, apps: Iterable[str]) -> dict[str, Known]:
        """What a look has to know of each of `apps`."""
        names = list(apps)
        return await self._database.read(lambda connection: {name: _known(connection, name) for name in names})

    async def decide(self, app: str, head: Head, verdict: Wanted | Skip, upto: int | None) -> Deploy | None:
        """Record the decision upon `head` and queue its deploy if it is wanted, in one transaction, which also answers the
        deliveries up to the id `upto` (None: none). Raises Unavailable.

        None when it is skipped, and when the newest deploy that waits, is in flight or serves is of that very commit.
        """
        deploy = await self._database.write(lambda connection: _decide(connection, app, head, verdict, upto))
        if deploy is not None:
            self._tell(deploy)
        self._tell_of_look(app, head)
        return deploy

    async def answer(self, app: str, head: Head | None, upto: int | None, reason: str = "") -> None:
        """Record that a look found nothing to decide: `head` was decided before, or there is none (then the next one is new).

        It answers the deliveries up to the id `upto`. Raises Unavailable.
        """

        def work(connection: sqlite3.Connection) -> None:
            if head is None:
                connection.execute("UPDATE apps SET decided = NULL WHERE name = ?", (app,))
            if upto is not None:
                _answer(connection, app, head.commit if head else None, upto, reason)

        await self._database.write(work)
        self._tell_of_look(app, head)

    async def state(self, app: str) -> AppState:
        """What is remembered of one app; an app never seen before is just empty."""
        return await self._database.read(lambda connection: app_state(connection, app))

    async def states(self, apps: Iterable[str]) -> list[AppState]:
        """The same for several, in one reading."""
        names = list(apps)
        return await self._database.read(lambda connection: [app_state(connection, name) for name in names])

    async def known_apps(self) -> list[str]:
        """Every app that was ever heard of and was not removed, configured or not."""
        query = "SELECT name FROM apps ORDER BY name"
        return await self._database.read(lambda connection: [name for (name,) in connection.execute(query)])

    async def pause(self, app: str, *, paused: bool) -> None:
        """Let queued deploys of the app wait, or no longer."""
        query = (
            "INSERT INTO apps (name, paused) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET paused = excluded.paused"
        )
        await self._database.write(lambda connection: connection.execute(query, (app, int(paused))).rowcount)
        self._events.publish("app", app, None, {"paused": paused})

    async def number_above(self, app: str, number: int) -> None:
        """Something serves under `number` that this store does not know, as its history was lost: no deploy gets that number."""
        await self._patiently(lambda connection: _number_above(connection, app, number))

    async def forget_app(self, app: str) -> None:
        """The app was removed: nothing of it serves or waits any more. Its history stays; its numbers go on."""
        await self._database.write(lambda connection: _forget_app(connection, app))
        self._events.publish("app", app, None, {"removed": True})

    def _tell_of_look(self, app: str, head: Head | None) -> None:
        self._events.publish("look", app, None, {"commit": head.commit if head is not None else None})


def _known(connection: sqlite3.Connection, app: str) -> Known:
    row = connection.execute(
        "SELECT decided, wanted, owed, looked, "
        "(SELECT ref FROM deploys WHERE app = name AND number = wanted_number) AS wanted_ref FROM apps WHERE name = ?",
        (app,),
    ).fetchone()
    if row is None:
        return Known()
    owed: list[Owed] = []
    if row["owed"] > row["looked"]:
        query = "SELECT id, guid, sha, apps FROM deliveries WHERE id > ? AND id <= ? ORDER BY id DESC LIMIT ?"
        found = connection.execute(query, (row["looked"], row["owed"], _MOST_OWED)).fetchall()
        owed = [Owed(one["id"], one["guid"], one["sha"]) for one in reversed(found) if app in json.loads(one["apps"])]
    return Known(row["decided"], row["wanted"], row["wanted_ref"], tuple(owed))


def _decide(
    connection: sqlite3.Connection, app: str, head: Head, verdict: Wanted | Skip, upto: int | None
) -> Deploy | None:
    connection.execute("INSERT OR IGNORE INTO apps (name) VALUES (?)", (app,))
    if isinstance(verdict, Skip):
        deploy = None
        change = "UPDATE apps SET decided = ?, skip_reason = ? WHERE name = ?"
        connection.execute(change, (head.commit, verdict.reason, app))
    else:
        newest = connection.execute(_NEWEST, (app,)).fetchone()
        known = newest is not None and newest["sha"] == head.commit
        deploy = None if known else queue(connection, verdict)
        change = "UPDATE apps SET decided = ?1, wanted = ?1, skip_reason = '', wanted_number = ?2, wanted_at = ?3 WHERE name = ?4"
        number = newest["number"] if deploy is None else deploy.number
        connection.execute(change, (head.commit, number, time.time(), app))
    if upto is not None:
        _answer(connection, app, head.commit, upto, "")
    return deploy


def _answer(connection: sqlite3.Connection, app: str, commit: str | None, upto: int, reason: str) -> None:
    """What came of the head that is decided now is what came of the deliveries up to `upto`."""
    connection.execute(
        "INSERT OR REPLACE INTO looks (app, upto, at, sha, number, reason) "
        "SELECT name, ?, ?, ?, iif(decided = wanted, wanted_number, NULL), "
        "iif(? != '', ?, iif(decided = wanted, '', skip_reason)) FROM apps WHERE name = ?",
        (upto, time.time(), commit, reason, reason, app),
    )
    connection.execute(
        "UPDATE apps SET looked = max(looked, ?1), owed_since = iif(owed > ?1, "
        "(SELECT min(received_at) FROM deliveries, json_each(deliveries.apps) WHERE deliveries.id > ?1 AND value = ?2), NULL) "
        "WHERE name = ?2",
        (upto, app),
    )


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
    at_rest = in_flight is None and not queued
    return AppState(
        app,
        paused=bool(row["paused"]),
        live=live,
        in_flight=in_flight,
        queued=queued,
        wanted=row["wanted"],
        wanted_at=moment(row["wanted_at"]),
        held_reason=_why_held(connection, row, live) if at_rest and live is not None else "",
        owed_since=moment(row["owed_since"]),
    )


def _why_held(connection: sqlite3.Connection, row: sqlite3.Row, live: Deploy) -> str:
    """Why the app stays at `live` although another commit was wanted last; "" when it does not."""
    if row["wanted"] is None or row["wanted"] == live.commit:
        return ""
    if live.number > row["wanted_number"] and not live.trigger.automatic:
        done = "rolled back" if live.rollback_to is not None else "deployed"
        return f"{live.name} was {done} by hand" + (f" by {live.trigger.by}" if live.trigger.by else "")
    found = connection.execute(
        "SELECT status, reason FROM deploys WHERE app = ? AND number = ?", (live.app, row["wanted_number"])
    ).fetchone()
    return f"{live.app}/{row['wanted_number']} {found['status']}" + (f": {found['reason']}" if found["reason"] else "")


def _number_above(connection: sqlite3.Connection, app: str, number: int) -> None:
    """Give no deploy a number up to `number`, which somebody else has; those that wait under one get another."""
    (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM deploys WHERE app = ?", (app,)).fetchone()
    begun = connection.execute("SELECT 1 FROM steps WHERE app = ? AND number = ?", (app, number)).fetchone()
    if last > number or begun is not None:
        return  # it is no stranger
    connection.execute(
        "INSERT INTO apps (name, last_number) VALUES (?, ?) ON CONFLICT (name) DO UPDATE "
        "SET last_number = excluded.last_number",
        (app, number),
    )
    waiting = "(SELECT number FROM deploys INDEXED BY waiting WHERE app = ?2 AND status = 'queued')"
    for moved in (
        f"UPDATE apps SET wanted_number = wanted_number + ?1 WHERE name = ?2 AND wanted_number IN {waiting}",
        f"UPDATE looks SET number = number + ?1 WHERE app = ?2 AND number IN {waiting}",
        "UPDATE deploys SET number = number + ?1 WHERE app = ?2 AND status = 'queued'",
    ):
        connection.execute(moved, (number, app))


def _forget_app(connection: sqlite3.Connection, app: str) -> None:
    """End what waits or runs of a removed app, and what is known of its remote."""
    now = time.time()
    connection.execute(
        "UPDATE deploys SET status = 'cancelled', finished_at = ?, reason = 'the app was removed' "
        "WHERE app = ? AND status IN ('queued', 'building', 'checking', 'rolling_out')",
        (now, app),
    )
    connection.execute(
        "UPDATE deploys SET status = 'retired', finished_at = ?, reason = 'the app was removed' "
        "WHERE app = ? AND status = 'live'",
        (now, app),
    )
    connection.execute(
        "INSERT INTO looks (app, upto, at, reason) SELECT name, owed, ?, 'the app was removed' FROM apps "
        "WHERE name = ? AND owed > looked",
        (now, app),
    )
    connection.execute(
        "UPDATE apps SET paused = 0, decided = NULL, wanted = NULL, wanted_number = 0, wanted_at = NULL, skip_reason = '', "
        "looked = owed, owed_since = NULL WHERE name = ?",
        (app,),
    )
