"""The memory of deployd: which pushes were taken, what became of them, what serves. The only writer of a status.

Every method is one short transaction. `accept` fails at once when the disk refuses (the forge shall see a failed delivery);
what a deploy in flight must record is written again and again until the disk takes it: a switch that happened is a fact.
"""

import asyncio
import contextlib
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from deployd.domain import Accepted, Delivery, Deploy, GateResult, Image, Status, StepStatus, Wanted
from deployd.errors import Unavailable
from deployd.events import Events
from deployd.store.database import Database
from deployd.store.history import History
from deployd.store.rows import as_json, gates_json, image_json
from deployd.store.transitions import (
    advance,
    decline,
    deploys_of_delivery,
    forget_app,
    number_above,
    queue,
    queue_again,
    queue_once,
    remember,
    take_newest,
)

T = TypeVar("T")
logger = logging.getLogger(__name__)

_RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)
_FORGOTTEN_AT_ONCE = 500  # nothing else is done meanwhile


class Store(History):
    """Writes; what can be asked stands in History."""

    def __init__(self, database: Database, events: Events) -> None:
        super().__init__(database)
        self._events = events
        self._impatient = asyncio.Event()

    def stop_waiting(self) -> None:
        """The daemon stops: from now on a write that the disk refuses is Unavailable, and the next start sees what is so."""
        self._impatient.set()

    def accept(self, delivery: Delivery, wanted: Sequence[Wanted]) -> asyncio.Future[Accepted]:
        """Take a delivery and queue what it asks for; durable when the future has a result. Raises Unavailable there.

        A repeated GUID gets the deploys of the first time; one that failed runs again, as it is an operator's redelivery. A
        commit that is already on its way is not queued twice.
        """

        def work(connection: sqlite3.Connection) -> Accepted:
            first = deploys_of_delivery(connection, delivery)
            failed = {deploy.app for deploy in first or () if deploy.status is Status.FAILED}
            if first is not None and not failed:
                return Accepted(first, [])
            deploys = [deploy for deploy in first or () if deploy.app not in failed]
            new: list[Deploy] = []
            for one in wanted:
                if (first is not None and one.app not in failed) or (one.declined and decline(connection, one)):
                    continue
                deploy, is_new = queue_once(connection, one)
                deploys.append(deploy)
                if is_new:
                    new.append(deploy)
            remember(connection, delivery, deploys)
            return Accepted(deploys, new)

        accepted = self._database.write(work)
        accepted.add_done_callback(self._tell_of_new)
        return accepted

    async def queue(self, wanted: Wanted) -> Deploy:
        """Queue what a person or the poll asks for. Raises Unavailable."""
        deploy = await self._database.write(lambda connection: queue(connection, wanted))
        self._tell(deploy)
        return deploy

    async def queue_once(self, wanted: Wanted) -> Deploy:
        """Queue a head that the poll or a take-up found; the deploy of a push that tells of it at the same moment is the same.

        Raises Unavailable.
        """
        deploy, new = await self._database.write(lambda connection: queue_once(connection, wanted))
        if new:
            self._tell(deploy)
        return deploy

    async def queue_again(self, deploy: Deploy) -> Deploy:
        """Queue what a person asked for anew, after it had to make way for nothing. Raises Unavailable."""
        again = await self._database.write(lambda connection: queue_again(connection, deploy))
        self._tell(again)
        return again

    async def take_newest(self, app: str) -> Deploy | None:
        """The newest queued deploy; those queued before it are superseded by it. None when paused or nothing waits."""

        newest, older = await self._patiently(lambda connection: take_newest(connection, app))
        for number in older:
            self._events.publish(
                "deploy.status", app, number, {"status": "superseded", "superseded_by": newest and newest.number}
            )
        if older:
            logger.info(
                "Superseded what was queued before it: %s", ", ".join(f"{app}/{number}" for number in older[-5:])
            )
        return newest

    async def advance(
        self,
        deploy: Deploy,
        to: Status,
        *,
        reason: str = "",
        hint: str = "",
        superseded_by: int | None = None,
    ) -> Deploy:
        """Move a deploy to `to`: the only change of a status, compared with what the table of transitions allows.

        Going live retires the release that was live, in the same transaction. Returns the deploy as it is then. A transition
        that is not in the table is a bug and raises ValueError.
        """

        def work(connection: sqlite3.Connection) -> tuple[Deploy, list[int]]:
            return advance(connection, deploy, to, reason, hint, superseded_by)

        after, retired = await self._patiently(work)
        for number in retired:
            self._events.publish("deploy.status", deploy.app, number, {"status": "retired"})
        self._tell(after)
        logger.info("Deploy %s is %s%s", after.name, to, f": {reason}" if reason else "")
        return after

    async def record_image(self, deploy: Deploy, image: Image) -> None:
        """What was built (or pushed: then with its digest)."""
        await self._update(deploy, "image = ?", image_json(image))

    async def record_subject(self, deploy: Deploy, subject: str, author: str) -> None:
        """What the commit says of itself, when no push told it."""
        await self._update(deploy, "(subject, author) = (?, ?)", subject, author)

    async def record_gates(self, deploy: Deploy, gates: Sequence[GateResult]) -> None:
        """What the gates said so far."""
        await self._update(deploy, "gates = ?", gates_json(gates))
        self._events.publish("gate", deploy.app, deploy.number, {"gates": json.loads(gates_json(gates))})

    async def record_model(self, deploy: Deploy, model: dict[str, Any]) -> None:
        """What the candidate says of the model it serves."""
        await self._update(deploy, "model = ?", as_json(model))

    async def begin_step(self, deploy: Deploy, name: str) -> int:
        """Record that a step runs; returns its position for `end_step`."""

        def work(connection: sqlite3.Connection) -> int:
            (position,) = connection.execute(
                "SELECT coalesce(max(position), 0) + 1 FROM steps WHERE app = ? AND number = ?",
                (deploy.app, deploy.number),
            ).fetchone()
            connection.execute(
                "INSERT INTO steps (app, number, position, name, status, started_at) VALUES (?, ?, ?, ?, 'running', ?)",
                (deploy.app, deploy.number, position, name, time.time()),
            )
            return int(position)

        position = await self._patiently(work)
        self._events.publish("step", deploy.app, deploy.number, {"name": name, "status": "running"})
        return position

    async def record_detail(self, deploy: Deploy, position: int, name: str, detail: str) -> None:
        """Record how far a step has come. A hint: a disk that refuses it holds nothing up."""
        query = "UPDATE steps SET detail = ? WHERE app = ? AND number = ? AND position = ?"
        values = (detail, deploy.app, deploy.number, position)
        try:
            await self._database.write(lambda connection: connection.execute(query, values).rowcount)
        except Unavailable as exc:
            logger.warning("Cannot record how far a step has come: %s (%s)", exc, exc.hint)
        data = {"name": name, "status": "running", "detail": detail}
        self._events.publish("step", deploy.app, deploy.number, data)

    async def end_step(self, deploy: Deploy, position: int, name: str, status: StepStatus) -> None:
        """Record how a step ended."""
        await self._patiently(
            lambda connection: (
                connection.execute(
                    "UPDATE steps SET status = ?, finished_at = ? WHERE app = ? AND number = ? AND position = ?",
                    (status, time.time(), deploy.app, deploy.number, position),
                ).rowcount
            )
        )
        self._events.publish("step", deploy.app, deploy.number, {"name": name, "status": status})

    async def end_interrupted_steps(self) -> None:
        """At start: no step runs. Those that did when the last daemon died were cut off."""
        await self._patiently(
            lambda connection: (
                connection.execute(
                    "UPDATE steps SET status = 'cancelled', finished_at = ? WHERE status = 'running'", (time.time(),)
                ).rowcount
            )
        )

    async def pause(self, app: str, *, paused: bool) -> None:
        """Let queued deploys of the app wait, or no longer."""
        await self._database.write(
            lambda connection: (
                connection.execute(
                    "INSERT INTO apps (name, paused) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET paused = excluded.paused",
                    (app, int(paused)),
                ).rowcount
            )
        )
        self._events.publish("app", app, None, {"paused": paused})

    async def see(self, app: str, commit: str | None) -> None:
        """The head of the app's branch is known to be `commit`, and is being seen to; None when there is no branch.

        A declined head that does not stand on it is forgotten: should the branch come back to it, it is a head like any other.
        """
        query = (
            "UPDATE apps SET seen_commit = :commit, declined = iif(stands_on = :commit, declined, NULL), "
            "stands_on = iif(stands_on = :commit, stands_on, NULL) WHERE name = :app"
        )
        await self._patiently(lambda connection: connection.execute(query, {"commit": commit, "app": app}).rowcount)

    async def number_above(self, app: str, number: int) -> None:
        """Something serves under `number` that this store does not know, as its history was lost: no deploy gets that number."""
        await self._patiently(lambda connection: number_above(connection, app, number))

    async def forget_app(self, app: str) -> None:
        """The app was removed: nothing of it serves or waits any more. Its history stays; its numbers go on."""
        await self._database.write(lambda connection: forget_app(connection, app))
        self._events.publish("app", app, None, {"removed": True})

    async def forget_deliveries(self, older_than: float) -> int:
        """Forget the deliveries older than so many seconds, a bounded number at a time; how many went."""

        def work(connection: sqlite3.Connection) -> int:
            return connection.execute(
                "DELETE FROM deliveries WHERE (forge, guid) IN "
                "(SELECT forge, guid FROM deliveries WHERE received_at < ? LIMIT ?)",
                (time.time() - older_than, _FORGOTTEN_AT_ONCE),
            ).rowcount

        gone = 0
        while count := await self._database.write(work):
            gone += count
        return gone

    async def ping(self) -> None:
        """A write would be taken; else Unavailable, as while another process holds the database."""
        await self._database.write(lambda _: None)

    async def backup(self, to: Any) -> None:
        """Copy the whole database to a file while it is in use."""
        await self._database.backup(to)

    async def _update(self, deploy: Deploy, change: str, *values: str) -> None:
        query = f"UPDATE deploys SET {change} WHERE app = ? AND number = ?"
        await self._patiently(
            lambda connection: connection.execute(query, (*values, deploy.app, deploy.number)).rowcount
        )

    async def _patiently(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Write until the disk takes it, or the daemon stops."""
        failures = 0
        while True:
            try:
                return await self._database.write(work)
            except Unavailable as exc:
                if self._impatient.is_set():
                    raise
                if failures == 0:
                    logger.error("Cannot record, and go on trying: %s (%s)", exc, exc.hint)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)]):
                        await self._impatient.wait()
                failures += 1

    def _tell_of_new(self, accepted: asyncio.Future[Accepted]) -> None:
        if not accepted.cancelled() and accepted.exception() is None:
            for deploy in accepted.result().new:
                self._tell(deploy)

    def _tell(self, deploy: Deploy) -> None:
        data = {"status": deploy.status.value, "commit": deploy.commit, "reason": deploy.reason}
        self._events.publish("deploy.status", deploy.app, deploy.number, data)
