"""The proofs of the commits that pull requests show."""

import sqlite3
from collections.abc import Sequence

from deployd.domain import Deploy
from deployd.goal import Wanted
from deployd.status import Status
from deployd.store.deploys import advance, last_number, queue
from deployd.store.rows import deploy_of
from deployd.store.table import Table

_REMEMBERED = 500  # so many of an app's deploys are looked at for a proof of the same commit
_TO_BE_PROVEN_ANEW = frozenset({Status.FAILED, Status.CANCELLED, Status.SUPERSEDED})


class Proposals(Table):
    """Proofs that are queued for pull requests."""

    async def propose(self, wanted: Sequence[Wanted]) -> list[Deploy]:
        """Queue proofs of the commit that a pull request shows, in one transaction; returns those that were queued. Raises
        Unavailable.

        One that is proven, under way or waits for the same commit is not queued again; one that failed is. What the same pull
        request showed before and that still waits is superseded.
        """
        made, gone = await self._database.write(lambda connection: _propose(connection, wanted))
        for deploy in (*gone, *made):
            self._tell(deploy)
        return made


def _propose(connection: sqlite3.Connection, wanted: Sequence[Wanted]) -> tuple[list[Deploy], list[Deploy]]:
    """The proofs that were queued, and the waiting ones that they superseded."""
    made: list[Deploy] = []
    gone: list[Deploy] = []
    for one in wanted:
        query = "SELECT * FROM deploys WHERE app = ?1 AND number > ?2 AND prove ORDER BY number DESC"
        rows = connection.execute(query, (one.app, last_number(connection, one.app) - _REMEMBERED)).fetchall()
        before = [deploy_of(row) for row in rows]
        if any(known.commit == one.commit and known.status not in _TO_BE_PROVEN_ANEW for known in before):
            continue
        made.append(queue(connection, one))
        reason = f"the pull request shows a newer commit: {made[-1].name}"
        for known in before:
            if known.ref == one.ref and known.status is Status.QUEUED:
                by = made[-1].number
                after, _ = advance(connection, known, Status.SUPERSEDED, reason=reason, superseded_by=by)
                gone.append(after)
    return made, gone
