"""The state of each app: whether it is paused, the head that was decided last, and whether a look is owed."""

import json
import sqlite3
import time
from collections.abc import Iterable
from datetime import datetime

from deployd.delivery import Owed
from deployd.domain import AppState, Deploy, Health
from deployd.goal import Head, Known, Skip, Wanted
from deployd.store.acts import last_acts, write_act
from deployd.store.deploys import queue
from deployd.store.rows import deploy_of, goal_of, moment, named_for, registered_json, registered_of
from deployd.store.schema import IN_FLIGHT
from deployd.store.table import Table
from deployd.wording import by_hand

_MOST_OWED = 200
_NEWEST = (
    "SELECT number, sha, registered FROM deploys WHERE app = ?1 AND status = 'live' "
    f"UNION ALL SELECT number, sha, registered FROM deploys WHERE app = ?1 AND {IN_FLIGHT} AND NOT prove "
    "UNION ALL SELECT number, sha, registered FROM deploys INDEXED BY waiting WHERE app = ?1 AND status = 'queued' AND NOT prove "
    "ORDER BY number DESC LIMIT 1"
)
_NEWEST_TO_SERVE = "SELECT number FROM deploys WHERE app = ?1 AND NOT prove ORDER BY number DESC LIMIT 1"


class Apps(Table):
    """One row for each app. What the deploys table holds is not stored here again."""

    async def known(self, apps: Iterable[str]) -> dict[str, Known]:
        """The data that a look needs about each of `apps`."""
        names = list(apps)
        return await self._database.read(lambda connection: {name: _known(connection, name) for name in names})

    async def decide(self, app: str, head: Head, verdict: Wanted | Skip, upto: int | None) -> Deploy | None:
        """Record the decision on `head` and queue its deploy if something is wanted, in one transaction. Raises Unavailable.

        Of a head whose commit is skipped another goal may be wanted: the commit before with the new version of the model.

        The transaction also records this look as the answer to the deliveries up to the id `upto` (None: to none). Returns
        None when the head is skipped, and when the newest deploy that is queued, in flight or live has the same goal. One that
        only proves its commit does not count.
        """
        deploy = await self._database.write(lambda connection: _decide(connection, app, head, verdict, upto))
        if deploy is not None:
            self._tell(deploy)
        self._tell_of_look(app, head)
        return deploy

    async def answer(self, app: str, head: Head | None, upto: int | None, reason: str = "") -> None:
        """Record that a look found nothing to decide: `head` was decided before, or is None as the ref does not exist.

        After None, any next head is new. Answers the deliveries up to the id `upto`. Raises Unavailable.
        """

        def work(connection: sqlite3.Connection) -> None:
            if head is None:
                connection.execute("UPDATE apps SET decided = NULL WHERE name = ?", (app,))
            if upto is not None:
                _answer(connection, app, head.commit if head else None, upto, reason)

        await self._database.write(work)
        self._tell_of_look(app, head)

    async def state(self, app: str) -> AppState:
        """The state of one app; an unknown app has an empty state."""
        return await self._database.read(lambda connection: app_state(connection, app))

    async def states(self, apps: Iterable[str]) -> list[AppState]:
        """The states of several apps, in one read."""
        names = list(apps)
        return await self._database.read(lambda connection: [app_state(connection, name) for name in names])

    async def known_apps(self) -> list[str]:
        """Every app that has a row, in the config or not."""
        query = "SELECT name FROM apps ORDER BY name"
        return await self._database.read(lambda connection: [name for (name,) in connection.execute(query)])

    async def pause(self, app: str, *, paused: bool, by: str | None = None) -> None:
        """Pause or resume the app. Deploys of a paused app stay queued. Pausing a paused app changes nothing, not even the name
        of who paused it."""
        query = (
            "INSERT INTO apps (name, paused, paused_by, paused_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO UPDATE "
            "SET paused = ?2, paused_by = iif(paused AND ?2, paused_by, ?3), paused_at = iif(paused AND ?2, paused_at, ?4)"
        )
        row = (app, int(paused), by, time.time()) if paused else (app, 0, None, None)

        def work(connection: sqlite3.Connection) -> None:
            before = connection.execute("SELECT paused FROM apps WHERE name = ?", (app,)).fetchone()
            connection.execute(query, row)
            if paused != (before is not None and bool(before["paused"])):
                write_act(connection, app, "paused" if paused else "resumed", by)

        await self._database.write(work)
        self._events.publish("app", app, None, {"paused": paused})

    async def number_above(self, app: str, number: int) -> None:
        """Give new deploys numbers above `number`: the target serves a deploy of that number that a lost history held."""
        await self._write_until_done(lambda connection: _number_above(connection, app, number))

    async def forget_app(self, app: str) -> None:
        """Record that the app was removed: its live, queued and running deploys end. Its history and its numbers stay."""
        await self._database.write(lambda connection: _forget_app(connection, app))
        self._events.publish("app", app, None, {"removed": True})

    def tell_of_health(self, live: Deploy, health: Health) -> None:
        """Publish the health of a live release. It is not stored: after a restart the release is compared anew."""
        self._events.publish("health", live.app, live.number, {"state": health.state, "detail": health.detail})

    def tell_of_trouble(self, app: str, reason: str) -> None:
        """Publish why the app's remote cannot be looked at; an empty reason: it can again."""
        self._events.publish("trouble", app, None, {"reason": reason})

    def _tell_of_look(self, app: str, head: Head | None) -> None:
        self._events.publish("look", app, None, {"commit": head.commit if head is not None else None})


def _known(connection: sqlite3.Connection, app: str) -> Known:
    row = connection.execute(
        "SELECT decided, decided_registered, wanted, wanted_registered, owed, looked, "
        "(SELECT ref FROM deploys WHERE app = name AND number = wanted_number) AS wanted_ref FROM apps WHERE name = ?",
        (app,),
    ).fetchone()
    if row is None:
        return Known()
    owed: list[Owed] = []
    if row["owed"] > row["looked"]:
        query = (
            "SELECT id, guid, ref, sha, apps, others FROM deliveries WHERE id > ? AND id <= ? ORDER BY id DESC LIMIT ?"
        )
        found = connection.execute(query, (row["looked"], row["owed"], _MOST_OWED)).fetchall()
        its = [one for one in reversed(found) if app in json.loads(one["apps"])]
        owed = [Owed(one["id"], one["guid"], named_for(app, one)[1]) for one in its]
    decided, wanted = (goal_of(row[name], row[f"{name}_registered"]) for name in ("decided", "wanted"))
    return Known(decided, wanted, row["wanted_ref"], tuple(owed), registered_of(row["decided_registered"]))


def _decide(
    connection: sqlite3.Connection, app: str, head: Head, verdict: Wanted | Skip, upto: int | None
) -> Deploy | None:
    connection.execute("INSERT OR IGNORE INTO apps (name) VALUES (?)", (app,))
    decided, deploy = (head.commit, registered_json(head.registered)), None
    if isinstance(verdict, Skip):
        change = "UPDATE apps SET decided = ?, decided_registered = ?, skip_reason = ? WHERE name = ?"
        connection.execute(change, (*decided, verdict.reason, app))
    else:
        newest = connection.execute(_NEWEST, (app,)).fetchone()
        known = newest is not None and goal_of(newest["sha"], newest["registered"]) == verdict.goal
        deploy = None if known else queue(connection, verdict)
        change = (
            "UPDATE apps SET decided = ?, decided_registered = ?, wanted = ?, wanted_registered = ?, skip_reason = '', "
            "wanted_number = ?, wanted_at = ? WHERE name = ?"
        )
        number = newest["number"] if deploy is None else deploy.number
        wanted = (verdict.commit, registered_json(verdict.registered))
        connection.execute(change, (*decided, *wanted, number, time.time(), app))
    if upto is not None:
        _answer(connection, app, head.commit, upto, "")
    return deploy


def _answer(connection: sqlite3.Connection, app: str, commit: str | None, upto: int, reason: str) -> None:
    """Record the outcome of the decided head as the outcome of the deliveries up to `upto`."""
    connection.execute(
        "INSERT OR REPLACE INTO looks (app, upto, at, sha, number, reason) "
        "SELECT name, ?, ?, ?, iif(decided IS NOT NULL AND skip_reason = '', wanted_number, NULL), "
        "iif(? != '', ?, skip_reason) FROM apps WHERE name = ?",
        (upto, time.time(), commit, reason, reason, app),
    )
    connection.execute(
        "UPDATE apps SET looked = max(looked, ?1), owed_since = iif(owed > ?1, "
        "(SELECT min(received_at) FROM deliveries, json_each(deliveries.apps) WHERE deliveries.id > ?1 AND value = ?2), NULL) "
        "WHERE name = ?2",
        (upto, app),
    )


def app_state(connection: sqlite3.Connection, app: str) -> AppState:
    """The state of an app, from its row and its deploys."""
    row = connection.execute("SELECT * FROM apps WHERE name = ?", (app,)).fetchone()
    acts = last_acts(connection, app)
    if row is None:
        return AppState(app, acts=acts)

    def find(condition: str) -> Deploy | None:
        found = connection.execute(f"SELECT * FROM deploys WHERE app = ?1 AND {condition}", (app,)).fetchone()
        return deploy_of(found) if found else None

    live, in_flight = find("status = 'live'"), find(IN_FLIGHT)
    queued, to_serve = connection.execute(
        "SELECT count(*), total(NOT prove) FROM deploys INDEXED BY waiting WHERE app = ? AND status = 'queued'", (app,)
    ).fetchone()
    at_rest = (in_flight is None or in_flight.prove) and not to_serve
    return AppState(
        app,
        paused=bool(row["paused"]),
        paused_by=row["paused_by"],
        paused_at=moment(row["paused_at"]),
        live=live,
        live_since=_since(connection, live) if live is not None else None,
        in_flight=in_flight,
        queued=queued,
        at_rest=at_rest,
        wanted=goal_of(row["wanted"], row["wanted_registered"]),
        wanted_at=moment(row["wanted_at"]),
        held_reason=_why_held(connection, row, live) if at_rest and live is not None else "",
        owed_since=moment(row["owed_since"]),
        failed=find(f"status IN ('failed', 'reverted') AND number = ({_NEWEST_TO_SERVE})") if at_rest else None,
        acts=acts,
    )


def _since(connection: sqlite3.Connection, live: Deploy) -> datetime | None:
    """The time since when the live release serves: it may have returned after later ones."""
    query = "SELECT max(finished_at) FROM deploys WHERE app = ? AND number > ? AND status = 'reverted'"
    returned = moment(connection.execute(query, (live.app, live.number)).fetchone()[0])
    return max(filter(None, (live.live_at, returned)), default=None)


def _why_held(connection: sqlite3.Connection, row: sqlite3.Row, live: Deploy) -> str:
    """The reason why the app is held: `live` serves although something else was wanted last. "" when it is not held."""
    if goal_of(row["wanted"], row["wanted_registered"]) in {None, live.goal}:
        return ""
    origin = origin_of(connection, live)
    if origin.number > row["wanted_number"] and not origin.trigger.automatic:
        done = "rolled back" if origin.rollback_to is not None else "deployed"
        return by_hand(done, origin.trigger.by)
    found = connection.execute(
        "SELECT status, reason FROM deploys WHERE app = ? AND number = ?", (live.app, row["wanted_number"])
    ).fetchone()
    return f"{live.app}/{row['wanted_number']} {found['status']}" + (f": {found['reason']}" if found["reason"] else "")


def origin_of(connection: sqlite3.Connection, live: Deploy) -> Deploy:
    """The deploy that first brought the live commit: `live` itself, or an earlier one when that is a restart."""
    if live.trigger.kind != "restart":
        return live
    query = (
        "SELECT * FROM deploys WHERE app = ? AND number < ? AND live_at IS NOT NULL AND trigger_kind != 'restart' "
        "ORDER BY number DESC LIMIT 1"
    )
    row = connection.execute(query, (live.app, live.number)).fetchone()
    return deploy_of(row) if row is not None else live


def _number_above(connection: sqlite3.Connection, app: str, number: int) -> None:
    """Give new deploys numbers above `number`, and renumber the queued ones; nothing to do when the deploy is known here."""
    (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM deploys WHERE app = ?", (app,)).fetchone()
    begun = connection.execute("SELECT 1 FROM steps WHERE app = ? AND number = ?", (app, number)).fetchone()
    if last > number or begun is not None:
        return  # this database knows the deploy
    connection.execute(
        "INSERT INTO apps (name, last_number) VALUES (?, ?) ON CONFLICT (name) DO UPDATE "
        "SET last_number = excluded.last_number",
        (app, number),
    )
    queued = "(SELECT number FROM deploys INDEXED BY waiting WHERE app = ?2 AND status = 'queued')"
    for moved in (
        f"UPDATE apps SET wanted_number = wanted_number + ?1 WHERE name = ?2 AND wanted_number IN {queued}",
        f"UPDATE looks SET number = number + ?1 WHERE app = ?2 AND number IN {queued}",
        "UPDATE deploys SET number = number + ?1 WHERE app = ?2 AND status = 'queued'",
    ):
        connection.execute(moved, (number, app))


def _forget_app(connection: sqlite3.Connection, app: str) -> None:
    """End the deploys of a removed app, and forget what is known of its remote."""
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
        "UPDATE apps SET paused = 0, paused_by = NULL, paused_at = NULL, decided = NULL, decided_registered = '', "
        "wanted = NULL, wanted_registered = '', wanted_number = 0, wanted_at = NULL, skip_reason = '', looked = owed, "
        "owed_since = NULL WHERE name = ?",
        (app,),
    )
