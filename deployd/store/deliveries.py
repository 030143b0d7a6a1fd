"""The accepted deliveries and their outcomes: each is answered by the first look that begins after it.

Ids of deliveries grow. Each app stores the last id that owes it a look, and the last id that a look answered. The outcome of a
delivery is that of the first look whose `upto` is at least its id.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from deployd.delivery import Delivery, Followed, Outcome, Push, Received
from deployd.status import Status
from deployd.store.rows import as_json, moment, named_for
from deployd.store.table import Table

_FORGOTTEN_AT_ONCE = 500  # one transaction, which blocks the event loop

_OWED = (
    "INSERT INTO apps (name, owed, owed_since) VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE "
    "SET owed = ?2, owed_since = coalesce(owed_since, ?3)"
)


class Deliveries(Table):
    """One row for each delivery, by its forge and GUID."""

    def accept(self, delivery: Delivery, followed: Sequence[Followed]) -> asyncio.Future[list[str]]:
        """Store a delivery and that a look is owed for each of its apps. The future gets the names to answer, or Unavailable.

        A repeated GUID gets the same answer as the first time and owes no look, unless the deploy of an app failed and the
        commit is still its last decided head: then that head is decided again.
        """
        return self._database.write(lambda connection: _accept(connection, delivery, followed))

    async def deliveries(self, limit: int = 50, before: int | None = None) -> list[Received]:
        """The newest deliveries first, with ids below `before` if given."""
        query = "SELECT * FROM deliveries WHERE id < ? ORDER BY id DESC LIMIT ?"
        values = (before if before is not None else 1 << 62, limit)
        return await self._database.read(
            lambda connection: [_received(connection, row) for row in connection.execute(query, values).fetchall()]
        )

    async def delivery(self, guid: str) -> Received | None:
        """The newest delivery with that GUID, from any forge."""
        query = "SELECT * FROM deliveries WHERE guid = ? ORDER BY id DESC LIMIT 1"

        def ask(connection: sqlite3.Connection) -> Received | None:
            row = connection.execute(query, (guid,)).fetchone()
            return _received(connection, row) if row else None

        return await self._database.read(ask)

    async def was_delivered(self, commit: str) -> bool:
        """Whether a delivery has named that commit, from any forge."""
        query = "SELECT 1 FROM deliveries WHERE sha = ?1 OR instr(others, ?1) LIMIT 1"
        return await self._database.read(lambda connection: connection.execute(query, (commit,)).fetchone()) is not None

    async def forget_deliveries(self, older_than: float) -> int:
        """Delete deliveries and looks older than that many seconds, a few at a time; returns the number of deliveries deleted.

        A deleted delivery owes no look any more.
        """
        old, gone = time.time() - older_than, 0
        while True:
            deliveries, looks = await self._database.write(lambda connection: _forget(connection, old))
            gone += deliveries
            if not deliveries and not looks:
                return gone


def _accept(connection: sqlite3.Connection, delivery: Delivery, followed: Sequence[Followed]) -> list[str]:
    first = connection.execute(
        "SELECT * FROM deliveries WHERE forge = ? AND guid = ?", (delivery.forge, delivery.guid)
    ).fetchone()
    if first is not None:
        followed = _as_stored(first, followed)
    named = {name: one.push for one in followed for name in one.apps}
    names = list(named)
    if first is not None and not sum(_decide_anew(connection, name, push.commit) for name, push in named.items()):
        return names
    now, push = time.time(), followed[0].push
    others = {name: (one.push.ref, one.push.commit) for one in followed[1:] for name in one.apps}
    row = (delivery.forge, delivery.guid, delivery.event, now, push.repository, push.ref, push.commit)
    (number,) = connection.execute(
        "INSERT OR REPLACE INTO deliveries (forge, guid, event, received_at, repository, ref, sha, apps, others) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (*row, as_json(names), as_json(others) if others else ""),
    ).fetchone()
    for name in names:
        connection.execute(_OWED, (name, number, now))
    return names


def _forget(connection: sqlite3.Connection, before: float) -> tuple[int, int]:
    """Delete some deliveries and looks from before that time; returns how many of each."""
    looks = connection.execute(
        "DELETE FROM looks WHERE (app, upto) IN (SELECT app, upto FROM looks WHERE at < ? LIMIT ?)",
        (before, _FORGOTTEN_AT_ONCE),
    ).rowcount
    deliveries = connection.execute(
        "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE received_at < ? LIMIT ?)",
        (before, _FORGOTTEN_AT_ONCE),
    ).rowcount
    connection.execute(
        "UPDATE apps SET looked = owed, owed_since = NULL WHERE owed > looked AND owed NOT IN (SELECT id FROM deliveries)"
    )
    return deliveries, looks


def _decide_anew(connection: sqlite3.Connection, app: str, commit: str) -> bool:
    """If the deploy of the decided head `commit` failed, let it be decided again; returns whether that was so.

    `wanted` is cleared too, so that all files count as changed: the failed deploy delivered none of the changes.
    """
    return (
        connection.execute(
            "UPDATE apps SET decided = NULL, wanted = NULL WHERE name = ? AND decided = ? AND skip_reason = '' "
            "AND (SELECT status FROM deploys WHERE app = name AND number = wanted_number) = ?",
            (app, commit, Status.FAILED.value),
        ).rowcount
        > 0
    )


def _received(connection: sqlite3.Connection, row: sqlite3.Row) -> Received:
    at = moment(row["received_at"])
    assert at is not None  # noqa: S101 - the column is NOT NULL
    return Received(
        id=row["id"],
        delivery=Delivery(row["forge"], row["guid"], row["event"]),
        received_at=at,
        followed=tuple(_followed(row)),
        outcomes=tuple(_outcome(connection, name, row["id"]) for name in json.loads(row["apps"])),
    )


def _followed(row: sqlite3.Row) -> list[Followed]:
    """The pushes of a stored delivery, the one of `ref` first."""
    apps: dict[tuple[str, str], list[str]] = {(row["ref"], row["sha"]): []}
    for name in json.loads(row["apps"]):
        apps.setdefault(named_for(name, row), []).append(name)
    return [Followed(Push(row["repository"], *named), tuple(names)) for named, names in apps.items()]


def _as_stored(row: sqlite3.Row, followed: Sequence[Followed]) -> Sequence[Followed]:
    """What a repeated delivery told of the first time. Of one from before an upgrade only the apps are known."""
    return _followed(row) if row["ref"] else [Followed(followed[0].push, tuple(json.loads(row["apps"])))]


def _outcome(connection: sqlite3.Connection, app: str, delivery: int) -> Outcome:
    query = "SELECT * FROM looks WHERE app = ? AND upto >= ? ORDER BY upto LIMIT 1"
    row: Any = connection.execute(query, (app, delivery)).fetchone()
    if row is None:
        return Outcome(app)
    return Outcome(app, moment(row["at"]), row["sha"], row["number"], row["reason"])
