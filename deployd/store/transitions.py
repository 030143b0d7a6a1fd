"""What one transaction does to the tables: a delivery remembered, a deploy queued, a status changed by the table of transitions.

Plain functions on a connection; Store decides when they run and tells those who watch.
"""

import json
import sqlite3
import time
from datetime import UTC, datetime

from deployd.domain import TRANSITIONS, Delivery, Deploy, Status, Wanted
from deployd.store.history import known_head, one_deploy
from deployd.store.rows import deploy_of
from deployd.wanted import stands_on

_ON_THEIR_WAY = frozenset(status.value for status in Status if status.active or status in {Status.QUEUED, Status.LIVE})

_NEWEST = "SELECT number, sha, ref, status FROM deploys WHERE app = ? ORDER BY number DESC LIMIT 1"
_DECLINED = (
    "INSERT INTO apps (name, declined, stands_on) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE "
    "SET declined = excluded.declined, stands_on = excluded.stands_on"
)
_QUEUED = (
    "INSERT INTO deploys (app, number, sha, ref, subject, author, trigger_kind, trigger_delivery, trigger_by, status, "
    "rollback_to, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', ?, ?)"
)


def remember(connection: sqlite3.Connection, delivery: Delivery, deploys: list[Deploy]) -> None:
    """Keep a delivery's GUID, and what came of it."""
    came_of_it = json.dumps([(d.app, d.number) for d in deploys])
    connection.execute(
        "INSERT OR REPLACE INTO deliveries VALUES (?, ?, ?, ?, ?)",
        (delivery.forge, delivery.guid, delivery.event, time.time(), came_of_it),
    )


def deploys_of_delivery(connection: sqlite3.Connection, delivery: Delivery) -> list[Deploy] | None:
    """What came of a delivery when its GUID came before, which may be nothing; None when it did not."""
    row = connection.execute(
        "SELECT deploys FROM deliveries WHERE forge = ? AND guid = ?", (delivery.forge, delivery.guid)
    ).fetchone()
    if row is None:
        return None
    found = [one_deploy(connection, app, number) for app, number in json.loads(row[0])]
    return [deploy for deploy in found if deploy is not None]


def decline(connection: sqlite3.Connection, wanted: Wanted) -> bool:
    """Remember a head that the app does not want; False when it cannot be left out, as what it stands on was missed."""
    _, newest, _, _ = _newest(connection, wanted.app)
    below = stands_on(wanted.before, known_head(connection, wanted.app), newest)
    if below is None and newest is not None:
        return False
    connection.execute(_DECLINED, (wanted.app, wanted.commit, below))
    return True


def queue(connection: sqlite3.Connection, wanted: Wanted) -> Deploy:
    """Queue a deploy under the app's next number, whatever is on its way."""
    return _queue(connection, wanted, _newest(connection, wanted.app)[0] + 1)


def queue_once(connection: sqlite3.Connection, wanted: Wanted) -> tuple[Deploy, bool]:
    """Queue a deploy and True; or, if the app's newest one is of that very commit and waits, runs or serves, that and False.

    That is the same push under another GUID.
    """
    last, commit, ref, status = _newest(connection, wanted.app)
    if (commit, ref) == (wanted.commit, wanted.ref) and status in _ON_THEIR_WAY:
        known = one_deploy(connection, wanted.app, last)
        assert known is not None  # noqa: S101 - it was read just now, in this transaction
        return known, False
    return _queue(connection, wanted, last + 1), True


def queue_again(connection: sqlite3.Connection, deploy: Deploy) -> Deploy:
    """Queue what a person asked for anew, as it was asked for, under the app's next number."""
    wanted = Wanted(
        deploy.app,
        deploy.commit,
        deploy.ref,
        deploy.trigger,
        deploy.subject,
        deploy.author,
        rollback_to=deploy.rollback_to,
    )
    again = queue(connection, wanted)
    if deploy.rollback_to is not None:
        connection.execute(
            "UPDATE deploys SET image = (SELECT image FROM deploys WHERE app = :app AND number = :earlier) "
            "WHERE app = :app AND number = :again",
            {"app": deploy.app, "earlier": deploy.number, "again": again.number},
        )
    return again


def take_newest(connection: sqlite3.Connection, app: str) -> tuple[Deploy | None, list[int]]:
    """The newest queued deploy, and the numbers of those before it, which it supersedes; None when paused or none waits."""
    paused = connection.execute("SELECT paused FROM apps WHERE name = ?", (app,)).fetchone()
    row = connection.execute(
        "SELECT * FROM deploys INDEXED BY waiting WHERE app = ? AND status = 'queued' ORDER BY number DESC LIMIT 1",
        (app,),
    ).fetchone()
    if row is None or (paused and paused[0]):
        return None, []
    older = connection.execute(
        "UPDATE deploys INDEXED BY waiting SET status = 'superseded', superseded_by = ?, finished_at = ?, reason = ? "
        "WHERE app = ? AND status = 'queued' AND number < ? RETURNING number",
        (row["number"], time.time(), f"a newer push came: {app}/{row['number']}", app, row["number"]),
    ).fetchall()
    return deploy_of(row), sorted(number for (number,) in older)


def _newest(connection: sqlite3.Connection, app: str) -> tuple[int, str | None, str | None, str | None]:
    """The app's last number, and the commit, ref and status of that deploy, if there was one."""
    row: tuple[int, str | None, str | None, str | None] | None = connection.execute(_NEWEST, (app,)).fetchone()
    if row is not None:
        return row
    connection.execute("INSERT OR IGNORE INTO apps (name) VALUES (?)", (app,))
    (last,) = connection.execute("SELECT last_number FROM apps WHERE name = ?", (app,)).fetchone()
    return last, None, None, None


def _queue(connection: sqlite3.Connection, wanted: Wanted, number: int) -> Deploy:
    """The hottest path: what is written is not read back."""
    trigger, now = wanted.trigger, time.time()
    connection.execute(
        _QUEUED,
        (
            *(wanted.app, number, wanted.commit, wanted.ref, wanted.subject, wanted.author),
            *(trigger.kind, trigger.delivery, trigger.by, wanted.rollback_to, now),
        ),
    )
    return Deploy(
        wanted.app,
        number,
        wanted.commit,
        wanted.ref,
        trigger,
        Status.QUEUED,
        datetime.fromtimestamp(now, UTC),
        wanted.subject,
        wanted.author,
        wanted.rollback_to,
    )


def advance(
    connection: sqlite3.Connection, deploy: Deploy, to: Status, reason: str, hint: str, superseded_by: int | None
) -> tuple[Deploy, list[int]]:
    """Change a status if the table of transitions allows it (else ValueError); the deploy then, and who was retired by it."""
    now = time.time()
    retired: list[int] = []
    if not to.active and to is not Status.LIVE:
        connection.execute(
            "UPDATE steps SET status = 'cancelled', finished_at = ? WHERE app = ? AND number = ? AND status = 'running'",
            (now, deploy.app, deploy.number),
        )
    if to is Status.LIVE:
        rows = connection.execute(
            "UPDATE deploys SET status = 'retired', finished_at = ? WHERE app = ? AND status = 'live' AND number != ? "
            "RETURNING number",
            (now, deploy.app, deploy.number),
        )
        retired = [number for (number,) in rows.fetchall()]
    before = sorted(status.value for status in Status if to in TRANSITIONS[status])
    row = connection.execute(
        "UPDATE deploys SET status = ?, reason = ?, hint = ?, superseded_by = ?, "
        "started_at = CASE WHEN ? THEN NULL ELSE coalesce(started_at, ?) END, "
        "live_at = CASE WHEN ? THEN ? ELSE live_at END, finished_at = CASE WHEN ? THEN ? ELSE finished_at END "
        f"WHERE app = ? AND number = ? AND status IN ({','.join('?' * len(before))}) RETURNING *",
        (
            *(to.value, reason, hint, superseded_by, to is Status.QUEUED, now, to is Status.LIVE, now),
            *(to.ended and to is not Status.LIVE, now, deploy.app, deploy.number, *before),
        ),
    ).fetchone()
    if row is None:
        present = one_deploy(connection, deploy.app, deploy.number)
        raise ValueError(f"{deploy.name} cannot become {to}: it is {present.status if present else 'unknown'}")
    return deploy_of(row), retired


def number_above(connection: sqlite3.Connection, app: str, number: int) -> None:
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
    moved = "UPDATE deploys SET number = number + ? WHERE app = ? AND status = 'queued'"
    connection.execute(moved, (number, app))


def forget_app(connection: sqlite3.Connection, app: str) -> None:
    """End what waits or runs of a removed app, and what is known of its branch."""
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
        "UPDATE apps SET paused = 0, seen_commit = NULL, declined = NULL, stands_on = NULL WHERE name = ?", (app,)
    )
