"""The deploys: queue them, change their status by the table of transitions, and read them.

This module alone writes a status. Reads are fast however long the history is.
"""

import logging
import sqlite3
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from deployd.domain import Deploy
from deployd.goal import Wanted
from deployd.status import RETURN, TRANSITIONS, Status
from deployd.store.releases import retire
from deployd.store.rows import deploy_of, registered_json
from deployd.store.table import Table
from deployd.wording import by_hand

logger = logging.getLogger(__name__)

_QUEUE = (
    "INSERT INTO deploys (app, number, sha, ref, subject, author, trigger_kind, trigger_delivery, trigger_by, status, "
    "target, rollback_to, rebuild, prove, accept_changes, registered, created_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?)"
)
_QUEUED = "SELECT * FROM deploys INDEXED BY waiting WHERE app = ? AND status = 'queued'"


class Brief(NamedTuple):
    """A summary of one deploy: its number, its status, and the seconds until it was live or ended (0 before that)."""

    number: int
    status: Status
    seconds: float


class Deploys(Table):
    """Each method is one short transaction."""

    async def queue(self, wanted: Wanted) -> Deploy:
        """Queue a deploy that a person asked for. Raises Unavailable."""
        deploy = await self._database.write(lambda connection: queue(connection, wanted))
        self._tell(deploy)
        return deploy

    async def take_newest(self, app: str) -> Deploy | None:
        """The newest queued deploy, which supersedes the older queued ones; when none is left that is to serve, the oldest of
        those that only prove a commit, which supersede nothing. None when paused or nothing is queued."""
        newest, older = await self._write_until_done(lambda connection: _take_newest(connection, app))
        for number in older:
            data = {"status": "superseded", "superseded_by": newest and newest.number}
            self._events.publish("deploy.status", app, number, data)
        if older:
            names = ", ".join(f"{app}/{number}" for number in older[-5:])
            logger.info("Superseded older queued deploys: %s", names)
        return newest

    async def advance(
        self,
        deploy: Deploy,
        to: Status,
        *,
        reason: str = "",
        hint: str = "",
        superseded_by: int | None = None,
        config_fault: bool = False,
        watched: bool = False,
    ) -> Deploy:
        """Change the status of a deploy to `to`, if the table of transitions allows it; returns the changed deploy.

        Going live retires the release that was live, in the same transaction; where it is to be `watched`, that one stands by,
        or the one that stood by for it. A transition that is not in the table is a bug and raises ValueError, and so does half
        a return.
        """

        def work(connection: sqlite3.Connection) -> tuple[Deploy, list[int]]:
            return advance(
                connection,
                deploy,
                to,
                reason=reason,
                hint=hint,
                superseded_by=superseded_by,
                config_fault=config_fault,
                watched=watched,
            )

        after, retired = await self._write_until_done(work)
        for number in retired:
            self._events.publish("deploy.status", deploy.app, number, {"status": "retired"})
        self._tell(after)
        logger.info("Deploy %s %s%s", after.name, to.predicate, f": {reason}" if reason else "")
        return after

    async def withdraw(self, deploy: Deploy, by: str | None = None) -> Deploy:
        """Cancel a deploy by hand if it is still queued; returns its present state. Raises Unavailable."""
        before, after = await self._database.write(lambda connection: _withdraw(connection, deploy, by))
        if after.status is not before:
            self._tell(after)
            logger.info("Deploy %s is %s: %s", after.name, after.status, after.reason)
        return after

    async def deploys(self, app: str, limit: int = 50, before: int | None = None) -> list[Deploy]:
        """The app's deploys without their steps, newest first; with `before`, only those with a lower number."""
        query = "SELECT * FROM deploys WHERE app = ? AND number < ? ORDER BY number DESC LIMIT ?"
        return await self._all(query, (app, before if before is not None else 1 << 62, limit))

    async def in_brief(self, apps: Sequence[str], limit: int = 20) -> dict[str, list[Brief]]:
        """The last deploys of each of `apps`, the oldest first."""
        query = (
            "SELECT number, status, coalesce(coalesce(live_at, finished_at) - started_at, 0) AS seconds FROM deploys "
            "WHERE app = ? ORDER BY number DESC LIMIT ?"
        )

        def ask(connection: sqlite3.Connection) -> dict[str, list[Brief]]:
            rows = {app: connection.execute(query, (app, limit)).fetchall() for app in apps}
            return {
                app: [Brief(row["number"], Status(row["status"]), row["seconds"]) for row in reversed(found)]
                for app, found in rows.items()
            }

        return await self._database.read(ask)

    async def newest_to_serve(self, app: str) -> Deploy | None:
        """The newest deploy that does not only prove its commit."""
        query = "SELECT * FROM deploys WHERE app = ? AND NOT prove ORDER BY number DESC LIMIT 1"
        return next(iter(await self._all(query, (app,))), None)

    async def deploy(self, app: str, number: int) -> Deploy | None:
        """One deploy with its steps."""
        return await self._database.read(lambda connection: one_deploy(connection, app, number))

    async def latest_of(self, app: str, commit: str) -> Deploy | None:
        """The newest deploy of that commit, leaving out those that were superseded while queued."""
        begun = "SELECT * FROM deploys INDEXED BY by_commit WHERE app = ? AND sha = ? AND started_at IS NOT NULL"
        queued = "SELECT * FROM deploys INDEXED BY waiting WHERE app = ? AND sha = ? AND status = 'queued'"
        query = f"{begun} UNION ALL {queued} ORDER BY number DESC LIMIT 1"
        return next(iter(await self._all(query, (app, commit, app, commit))), None)

    async def newest_queued(self, app: str) -> int:
        """The number of the newest queued deploy that is to serve, 0 when there is none."""
        newest = f"{_QUEUED} AND NOT prove ORDER BY number DESC LIMIT 1"
        row = await self._database.read(lambda connection: connection.execute(newest, (app,)).fetchone())
        return row["number"] if row is not None else 0

    async def _all(self, query: str, values: tuple[object, ...]) -> list[Deploy]:
        return await self._database.read(
            lambda connection: [deploy_of(row) for row in connection.execute(query, values)]
        )


def queue(connection: sqlite3.Connection, wanted: Wanted) -> Deploy:
    """Queue a deploy under the app's next number. The row is not read back, which saves time in a flood."""
    trigger, now, number = wanted.trigger, time.time(), last_number(connection, wanted.app) + 1
    connection.execute(
        _QUEUE,
        (
            *(wanted.app, number, wanted.commit, wanted.ref, wanted.subject, wanted.author),
            *(trigger.kind, trigger.delivery, trigger.by, wanted.target, wanted.rollback_to),
            *(wanted.rebuild, wanted.prove, wanted.accept_changes, registered_json(wanted.registered), now),
        ),
    )
    return Deploy(
        app=wanted.app,
        number=number,
        commit=wanted.commit,
        ref=wanted.ref,
        trigger=trigger,
        status=Status.QUEUED,
        created_at=datetime.fromtimestamp(now, UTC),
        subject=wanted.subject,
        author=wanted.author,
        target=wanted.target,
        rollback_to=wanted.rollback_to,
        rebuild=wanted.rebuild,
        prove=wanted.prove,
        accept_changes=wanted.accept_changes,
        registered=wanted.registered,
    )


def one_deploy(connection: sqlite3.Connection, app: str, number: int) -> Deploy | None:
    """A deploy with its steps."""
    row = connection.execute("SELECT * FROM deploys WHERE app = ? AND number = ?", (app, number)).fetchone()
    if row is None:
        return None
    steps = connection.execute("SELECT * FROM steps WHERE app = ? AND number = ? ORDER BY position", (app, number))
    return deploy_of(row, steps)


def last_number(connection: sqlite3.Connection, app: str) -> int:
    """The highest number that a deploy of an app has had; it may not be used again. Creates the app's row if it is missing."""
    query = (
        "SELECT max(last_number, coalesce((SELECT number FROM deploys WHERE app = name ORDER BY number DESC LIMIT 1), 0)) "
        "FROM apps WHERE name = ?"
    )
    if (row := connection.execute(query, (app,)).fetchone()) is None:
        connection.execute("INSERT INTO apps (name) VALUES (?)", (app,))
        row = connection.execute(query, (app,)).fetchone()
    return int(row[0])


def _take_newest(connection: sqlite3.Connection, app: str) -> tuple[Deploy | None, list[int]]:
    """The next queued deploy (None when paused or none is queued), and the numbers of the older ones that it superseded."""
    paused = connection.execute("SELECT paused FROM apps WHERE name = ?", (app,)).fetchone()
    if paused and paused[0]:
        return None, []
    row = connection.execute(f"{_QUEUED} AND NOT prove ORDER BY number DESC LIMIT 1", (app,)).fetchone()
    if row is None:
        proof = connection.execute(f"{_QUEUED} ORDER BY number LIMIT 1", (app,)).fetchone()
        return (deploy_of(proof), []) if proof is not None else (None, [])
    older = connection.execute(
        "UPDATE deploys INDEXED BY waiting SET status = 'superseded', superseded_by = ?, finished_at = ?, reason = ? "
        "WHERE app = ? AND status = 'queued' AND NOT prove AND number < ? RETURNING number",
        (row["number"], time.time(), f"a newer deploy came: {app}/{row['number']}", app, row["number"]),
    ).fetchall()
    return deploy_of(row), sorted(number for (number,) in older)


def _withdraw(connection: sqlite3.Connection, deploy: Deploy, by: str | None) -> tuple[Status, Deploy]:
    """Cancel a deploy if it is queued; returns its status before, and the deploy after."""
    present = one_deploy(connection, deploy.app, deploy.number) or deploy
    if present.status is not Status.QUEUED:
        return present.status, present
    after, _ = advance(connection, present, Status.CANCELLED, reason=by_hand("cancelled", by))
    return present.status, after


def advance(
    connection: sqlite3.Connection,
    deploy: Deploy,
    to: Status,
    *,
    reason: str = "",
    hint: str = "",
    superseded_by: int | None = None,
    config_fault: bool = False,
    watched: bool = False,
) -> tuple[Deploy, list[int]]:
    """Change a status if the table of transitions allows it, else raise ValueError.

    Returns the changed deploy and the numbers of the deploys that were retired.
    """
    now = time.time()
    retired: list[int] = []
    standby: int | None = None
    if not to.active and to is not Status.LIVE:
        ended = (
            "UPDATE steps SET status = 'cancelled', finished_at = ? WHERE app = ? AND number = ? AND status = 'running'"
        )
        connection.execute(ended, (now, deploy.app, deploy.number))
    if to is Status.LIVE:
        retired, standby = retire(connection, deploy, now)
    before = sorted(status.value for status in Status if to in TRANSITIONS[status] and RETURN.get(status) is not to)
    row = connection.execute(
        "UPDATE deploys SET status = ?, reason = ?, hint = ?, superseded_by = ?, config_fault = ?, standby = ?, "
        "started_at = CASE WHEN ? THEN NULL ELSE coalesce(started_at, ?) END, "
        "live_at = CASE WHEN ? THEN ? ELSE live_at END, finished_at = CASE WHEN ? THEN ? ELSE finished_at END "
        f"WHERE app = ? AND number = ? AND status IN ({','.join('?' * len(before))}) RETURNING *",
        (
            *(to.value, reason, hint, superseded_by, config_fault, standby if watched else None),
            *(to is Status.QUEUED, now, to is Status.LIVE, now),
            *(to.ended and to is not Status.LIVE, now, deploy.app, deploy.number, *before),
        ),
    ).fetchone()
    if row is None:
        present = one_deploy(connection, deploy.app, deploy.number)
        raise ValueError(f"{deploy.name} cannot become {to}: it is {present.status if present else 'unknown'}")
    return deploy_of(row), retired
