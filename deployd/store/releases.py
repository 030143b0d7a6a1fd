"""The releases of an app: their history, the images that must be kept, and the return from a release that fails its watch.

A return is begun before the traffic moves and recorded after it, so that a crash in between is finished and not forgotten.
"""

import logging
import sqlite3
import time
from collections.abc import Sequence

from deployd.domain import Deploy, GateResult, Kept
from deployd.status import RETURN, Status
from deployd.store.rows import deploy_of, gates_json, image_of
from deployd.store.schema import IN_FLIGHT
from deployd.store.table import Table

logger = logging.getLogger(__name__)


class Releases(Table):
    """Each method is one short transaction."""

    async def previous(self, app: str, number: int) -> Deploy | None:
        """The newest release before deploy `number` that was live and did not fail its watch."""
        return await self._database.read(lambda connection: _release_before(connection, app, number))

    async def served_before(self, app: str, number: int) -> Deploy | None:
        """The newest release before deploy `number` that is or was live, and did not fail its watch."""
        query = (
            "SELECT * FROM deploys WHERE app = ? AND number < ? AND live_at IS NOT NULL "
            "AND (status = 'live' OR status = 'retired') ORDER BY number DESC LIMIT 1"
        )
        row = await self._database.read(lambda connection: connection.execute(query, (app, number)).fetchone())
        return deploy_of(row) if row is not None else None

    async def released(self, app: str, limit: int = 50) -> list[Deploy]:
        """Deploys that are or were live, newest first."""
        query = "SELECT * FROM deploys WHERE app = ? AND live_at IS NOT NULL ORDER BY number DESC LIMIT ?"
        return await self._database.read(
            lambda connection: [deploy_of(row) for row in connection.execute(query, (app, limit))]
        )

    async def kept(self, app: str) -> Kept:
        """The images that must not be removed: those of the live release, of the releases before it (a rollback goes there)
        and of queued and running deploys. For the latter also the commits, as an image may not be recorded yet."""
        return await self._database.read(lambda connection: kept_of(connection, app))

    async def record_watch(self, deploy: Deploy, results: Sequence[GateResult]) -> None:
        """Record the results of a release's watch so far, beside those of its gates."""
        gates = await self._write_until_done(lambda connection: _add_gates(connection, deploy, results))
        self._tell_gates(deploy, gates)

    async def end_watch(self, deploy: Deploy) -> None:
        """Record that a live release has passed its watch: nothing stands by for it from now on."""
        await self._change_live(deploy, "standby = NULL, return_reason = ''")

    async def begin_return(self, deploy: Deploy, reason: str, results: Sequence[GateResult] = ()) -> None:
        """Record the verdict on a watched release, before the traffic returns to the one that stands by."""

        def work(connection: sqlite3.Connection) -> list[GateResult]:
            change = "UPDATE deploys SET return_reason = ? WHERE app = ? AND number = ? AND status = 'live'"
            connection.execute(change, (reason, deploy.app, deploy.number))
            return _add_gates(connection, deploy, results)

        self._tell_gates(deploy, await self._write_until_done(work))

    async def abandon_return(self, deploy: Deploy) -> None:
        """Record that a release stays live after all, since the one that stands by cannot serve."""
        await self._change_live(deploy, "return_reason = ''")

    async def record_return(self, deploy: Deploy, reason: str) -> Deploy:
        """Record that `deploy` is reverted and that the release that stood by for it is live, in one transaction; the latter.

        ValueError when that is not what the table of transitions allows: a bug.
        """
        reverted, live = await self._write_until_done(lambda connection: _return(connection, deploy, reason))
        for one in (reverted, live):
            self._tell(one)
        logger.info("Deploy %s %s: %s", reverted.name, reverted.status.predicate, reason)
        logger.info("Deploy %s %s again", live.name, live.status.predicate)
        return live

    async def _change_live(self, deploy: Deploy, change: str) -> None:
        query = f"UPDATE deploys SET {change} WHERE app = ? AND number = ? AND status = 'live'"
        row = (deploy.app, deploy.number)
        await self._write_until_done(lambda connection: connection.execute(query, row).rowcount)


def _add_gates(connection: sqlite3.Connection, deploy: Deploy, results: Sequence[GateResult]) -> list[GateResult]:
    """Add verdicts to those of other gates and moments; all recorded verdicts."""
    query = "SELECT * FROM deploys WHERE app = ? AND number = ?"
    known = {(result.name, result.moment) for result in results}
    row = connection.execute(query, (deploy.app, deploy.number)).fetchone()
    merged = [one for one in deploy_of(row).gates if (one.name, one.moment) not in known] + list(results)
    change = "UPDATE deploys SET gates = ? WHERE app = ? AND number = ?"
    connection.execute(change, (gates_json(merged), deploy.app, deploy.number))
    return merged


def retire(connection: sqlite3.Connection, deploy: Deploy, now: float) -> tuple[list[int], int | None]:
    """Retire the live release, because `deploy` goes live. The numbers of the retired releases, and of the one to go back to: the
    standby, since a release that is retired during its watch has not passed it. None on another target."""
    standing = connection.execute(
        "SELECT coalesce(standby, number) AS number FROM deploys WHERE app = ? AND status = 'live' AND number != ? "
        "AND target = (SELECT target FROM deploys WHERE app = ? AND number = ?)",
        (deploy.app, deploy.number, deploy.app, deploy.number),
    ).fetchone()
    rows = connection.execute(
        "UPDATE deploys SET status = 'retired', finished_at = ?, standby = NULL, return_reason = '' "
        "WHERE app = ? AND status = 'live' AND number != ? RETURNING number",
        (now, deploy.app, deploy.number),
    ).fetchall()
    return [number for (number,) in rows], standing["number"] if standing is not None else None


def _return(connection: sqlite3.Connection, deploy: Deploy, reason: str) -> tuple[Deploy, Deploy]:
    """Do both halves of a return; the reverted deploy and the live one."""
    now, app = time.time(), deploy.app
    standby = connection.execute(
        "SELECT standby FROM deploys WHERE app = ? AND number = ? AND status = 'live'", (app, deploy.number)
    ).fetchone()
    reverted = connection.execute(
        "UPDATE deploys SET status = ?, reason = ?, finished_at = ?, standby = NULL, return_reason = '' "
        "WHERE app = ? AND number = ? AND status = 'live' RETURNING *",
        (RETURN[Status.LIVE].value, reason, now, app, deploy.number),
    ).fetchone()
    live = connection.execute(
        "UPDATE deploys SET status = ?, reason = '', hint = '', finished_at = NULL "
        "WHERE app = ? AND number = ? AND status = 'retired' RETURNING *",
        (RETURN[Status.RETIRED].value, app, standby["standby"] if standby is not None else None),
    ).fetchone()
    if reverted is None or live is None:
        raise ValueError(f"{deploy.name} cannot return: it is not live, or nothing stands by for it")
    return deploy_of(reverted), deploy_of(live)


def _release_before(connection: sqlite3.Connection, app: str, number: int) -> Deploy | None:
    row = connection.execute(
        "SELECT * FROM deploys WHERE app = ? AND number < ? AND live_at IS NOT NULL AND status = 'retired' "
        "AND (sha, registered) != (SELECT sha, registered FROM deploys WHERE app = ? AND number = ?) "
        "ORDER BY number DESC LIMIT 1",
        (app, number, app, number),
    ).fetchone()
    return deploy_of(row) if row else None


def kept_of(connection: sqlite3.Connection, app: str) -> Kept:
    """The images of an app that must not be removed."""
    live = connection.execute("SELECT number FROM deploys WHERE app = ? AND status = 'live'", (app,)).fetchone()
    previous = _release_before(connection, app, live["number"]) if live else None
    rows = connection.execute(
        "SELECT * FROM (SELECT NULL AS coming, image FROM deploys WHERE app = ?1 AND live_at IS NOT NULL "
        "ORDER BY number DESC LIMIT 2) "
        f"UNION SELECT sha, image FROM deploys WHERE app = ?1 AND {IN_FLIGHT} "
        "UNION SELECT NULL, image FROM deploys WHERE app = ?1 AND status = 'live' "
        "UNION SELECT NULL, image FROM deploys WHERE app = ?1 AND number = "
        "(SELECT standby FROM deploys WHERE app = ?1 AND status = 'live') "
        "UNION SELECT sha, image FROM deploys INDEXED BY waiting WHERE app = ?1 AND status = 'queued'",
        (app,),
    ).fetchall()
    images = [image_of(row["image"]) for row in rows if row["image"]]
    if previous is not None and previous.image is not None:
        images.append(previous.image)
    return Kept(images, frozenset(row["coming"] for row in rows if row["coming"]))
