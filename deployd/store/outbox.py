"""The outbox: reports that are to be sent outside, to GitHub or as messages, and those that were sent.

A row for each change of a deploy's status is written by triggers, in the transaction of the change, for each reporter that has
subscribed to that status (`subscribe`). A newer state of a deploy replaces one that waits. A row goes when it was told, so that
what a killed daemon had not told is told after its next start: at least once.
"""

import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from deployd.status import Status
from deployd.store.rows import moment
from deployd.store.table import Table

MOST_UNSENT = 1000
"""The most reports that wait for one reporter; the oldest beyond them are dropped."""

_NEXT = (
    "SELECT * FROM outbox AS one WHERE reporter = ?1 AND not_before <= ?2 AND NOT EXISTS (SELECT 1 FROM outbox AS other "
    "WHERE other.reporter = ?1 AND other.app = one.app AND other.id < one.id AND other.not_before > ?2) ORDER BY id LIMIT 1"
)


class Check(Struct, frozen=True):
    """A check on a commit, as a forge shows it beside the commit; `name` is that of the check, `external_id` tells it from all
    others of the app. No `conclusion`: it has not ended. `summary` and `text` are Markdown."""

    commit: str
    name: str
    external_id: str
    title: str
    summary: str
    text: str = ""
    conclusion: str = ""
    url: str = ""


class Report(Struct, frozen=True):
    """One report that a reporter has to send. `number`: of the deploy that became `status`; None where it is a `check`.

    `tries`: how often it was begun to be sent before. `remote` and `said`: its address there and what was told of it last; an
    empty `remote` says that it may or may not have been created, None that it was not."""

    id: int
    reporter: str
    app: str
    about: str
    written_at: datetime
    number: int | None = None
    status: Status | None = None
    check: Check | None = None
    tries: int = 0
    remote: str | None = None
    said: str = ""


class Unsent(Struct, frozen=True):
    """The number of a reporter's unsent reports, and since when the oldest waits."""

    reporter: str
    count: int
    since: datetime


class Outbox(Table):
    """Each method is one short transaction."""

    async def subscribe(self, wanted: Mapping[str, Iterable[Status]]) -> None:
        """From now on write reports of these statuses for these reporters. Reports for other reporters are dropped, and unsent
        ones are tried at once. Raises Unavailable."""
        rows = [(status.value, reporter) for reporter, statuses in wanted.items() for status in statuses]

        def known(connection: sqlite3.Connection) -> bool:
            told = connection.execute("SELECT status, reporter FROM subscriptions").fetchall()
            waits = connection.execute("SELECT EXISTS (SELECT 1 FROM outbox WHERE not_before != 0)").fetchone()[0]
            return {tuple(row) for row in told} == set(rows) and not waits

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM subscriptions")
            connection.executemany("INSERT INTO subscriptions (status, reporter) VALUES (?, ?)", rows)
            connection.execute("DELETE FROM outbox WHERE reporter NOT IN (SELECT reporter FROM subscriptions)")
            connection.execute("UPDATE outbox SET not_before = 0 WHERE not_before != 0")

        if not await self._database.read(known):  # else a daemon with a full disk would not start
            await self._database.write(work)

    async def owe_check(self, reporter: str, app: str, check: Check) -> None:
        """Queue a check to be sent; it replaces an unsent one with the same `external_id`. Raises Unavailable."""
        row = (reporter, app, check.external_id, msgspec.json.encode(check).decode(), time.time(), reporter)
        query = (
            "INSERT OR REPLACE INTO outbox (reporter, app, about, body, written_at) "
            "SELECT ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM subscriptions WHERE reporter = ?)"
        )
        await self._database.write(lambda connection: connection.execute(query, row).rowcount)
        self._events.publish("report", app, None, {"check": check.external_id})

    async def next_report(self, reporter: str) -> tuple[Report | None, float | None]:
        """The next report to send, the oldest first and never past an older one of the same app; when there is none now, the
        seconds until there may be one."""

        def work(connection: sqlite3.Connection) -> tuple[Report | None, float | None]:
            now = time.time()
            if (row := connection.execute(_NEXT, (reporter, now)).fetchone()) is not None:
                return _report_of(connection, row), None
            query = "SELECT min(not_before) FROM outbox WHERE reporter = ?"
            (later,) = connection.execute(query, (reporter,)).fetchone()
            return None, max(later - now, 0.0) if later is not None else None

        return await self._database.read(work)

    async def begin_report(self, report: Report) -> None:
        """Record that a report is about to be sent: if the daemon dies now, it may have arrived."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE outbox SET tries = tries + 1 WHERE id = ?", (report.id,))
            query = "INSERT OR IGNORE INTO told (reporter, app, about, remote, at) VALUES (?, ?, ?, '', ?)"
            connection.execute(query, (report.reporter, report.app, report.about, time.time()))

        await self._write_until_done(work)

    async def end_report(self, report: Report, remote: str | None = None, said: str | None = None) -> None:
        """Record that a report was sent, or needs no sending. A newer state that was written meanwhile still waits."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM outbox WHERE id = ?", (report.id,))
            of = (report.reporter, report.app, report.about)
            query = (
                "UPDATE told SET remote = coalesce(?, remote), said = coalesce(?, said), at = ? "
                "WHERE reporter = ? AND app = ? AND about = ?"
            )
            connection.execute(query, (remote, said, time.time(), *of))

        await self._write_until_done(work)

    async def record_remote(self, report: Report, remote: str) -> None:
        """Record the address of an object that was created for a report, before anything else is sent about it."""
        query = "UPDATE told SET remote = ? WHERE reporter = ? AND app = ? AND about = ?"
        values = (remote, report.reporter, report.app, report.about)
        await self._write_until_done(lambda connection: connection.execute(query, values).rowcount)

    async def postpone_reports(self, reporter: str, app: str, seconds: float) -> None:
        """Send nothing about an app for that many seconds."""
        query = "UPDATE outbox SET not_before = ? WHERE reporter = ? AND app = ?"
        values = (time.time() + seconds, reporter, app)
        await self._write_until_done(lambda connection: connection.execute(query, values).rowcount)

    async def drop_reports(self, reporter: str, older_than: float, most: int = MOST_UNSENT) -> int:
        """Drop reports that have waited for longer than that many seconds, and the oldest beyond `most`; the number dropped."""
        query = (
            "DELETE FROM outbox WHERE reporter = ?1 AND (written_at < ?2 OR id IN "
            "(SELECT id FROM outbox WHERE reporter = ?1 ORDER BY id DESC LIMIT -1 OFFSET ?3))"
        )
        values = (reporter, time.time() - older_than, most)
        return await self._write_until_done(lambda connection: connection.execute(query, values).rowcount)

    async def unsent_reports(self) -> Sequence[Unsent]:
        """The unsent reports of each reporter."""
        query = "SELECT reporter, count(*) AS count, min(written_at) AS since FROM outbox GROUP BY reporter"
        return await self._database.read(
            lambda connection: [
                Unsent(row["reporter"], row["count"], _moment(row["since"])) for row in connection.execute(query)
            ]
        )

    async def forget_told(self, older_than: float) -> int:
        """Forget the sent reports that are older than that many seconds, of deploys that do not serve; the number of deploys."""
        query = (
            "DELETE FROM told WHERE at < ? AND NOT EXISTS "
            "(SELECT 1 FROM deploys WHERE deploys.app = told.app AND status = 'live' AND CAST(number AS TEXT) = about)"
        )
        values = (time.time() - older_than,)
        return await self._database.write(lambda connection: connection.execute(query, values).rowcount)


def _report_of(connection: sqlite3.Connection, row: sqlite3.Row) -> Report:
    told = connection.execute(
        "SELECT remote, said FROM told WHERE reporter = ? AND app = ? AND about = ?",
        (row["reporter"], row["app"], row["about"]),
    ).fetchone()
    return Report(
        id=row["id"],
        reporter=row["reporter"],
        app=row["app"],
        about=row["about"],
        written_at=_moment(row["written_at"]),
        number=int(row["about"]) if row["status"] else None,
        status=Status(row["status"]) if row["status"] else None,
        check=msgspec.json.decode(row["body"], type=Check) if row["body"] else None,
        tries=row["tries"],
        remote=told["remote"] if told is not None else None,
        said=told["said"] if told is not None else "",
    )


def _moment(seconds: float) -> datetime:
    found = moment(seconds)
    assert found is not None  # noqa: S101 - the columns are NOT NULL
    return found
