"""Set-up for the tests of the store: stored deliveries, decided heads, and deploys in any status."""

import sqlite3
from collections.abc import Awaitable, Callable, Iterable

from deployd.delivery import Delivery, Followed, Push
from deployd.domain import Deploy
from deployd.events import Events
from deployd.goal import Head, Skip, Trigger, Wanted
from deployd.status import Status
from deployd.store.database import Database
from deployd.store.store import Store

A, B, C = "a" * 40, "b" * 40, "c" * 40
MAIN = "refs/heads/main"
SUCCESS = (Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT, Status.LIVE)


def wanted(commit: str = A, app: str = "iris", *, by_hand: bool = False) -> Wanted:
    """A wanted commit, of a look or (`by_hand`) of a person."""
    trigger = Trigger("manual", by="ada") if by_hand else Trigger("push", "g")
    return Wanted(app, commit, MAIN, trigger, "Subject", "Author")


async def accepted(store: Store, guid: str, commit: str = A, *apps: str) -> list[str]:
    """Store a delivery of `commit`; returns the names of the apps that are answered."""
    push = Push("example.com/acme/iris", MAIN, commit)
    return await store.accept(Delivery("github", guid, "push"), [Followed(push, apps or ("iris",))])


async def decided(store: Store, commit: str, app: str = "iris", *, skip: str = "") -> Deploy | None:
    """Record a look that finds the head `commit`, decides on it and answers every owed delivery."""
    owed = (await store.known([app]))[app].owed
    verdict = Skip(skip) if skip else wanted(commit, app)
    return await store.decide(app, Head(MAIN, commit), verdict, owed[-1].id if owed else None)


async def queued(store: Store, commit: str, app: str = "iris") -> Deploy:
    """Queue the deploy of a head that a look wants."""
    deploy = await decided(store, commit, app)
    assert deploy is not None
    return deploy


async def gone(store: Store, deploy: Deploy, *statuses: Status, reason: str = "") -> Deploy:
    """Move a deploy through the statuses, into the last one for `reason`."""
    for status in statuses:
        deploy = await store.advance(deploy, status, reason=reason if status is statuses[-1] else "")
    return deploy


async def live(store: Store, commit: str = A, app: str = "iris", *, by_hand: bool = False) -> Deploy:
    """Make a live release, of a head that a look wanted or (`by_hand`) that a person asked for."""
    deploy = await store.queue(wanted(commit, app, by_hand=True)) if by_hand else await queued(store, commit, app)
    return await gone(store, deploy, *SUCCESS)


async def statements_of(database: Database, work: Callable[[Store], Awaitable[object]]) -> list[str]:
    """The different SQL statements that the writer runs for `work`."""
    asked: list[str] = []
    await database.write(lambda connection: connection.set_trace_callback(asked.append))
    await work(Store(database, Events()))
    await database.write(lambda connection: connection.set_trace_callback(None))
    return list(dict.fromkeys(asked))


async def explained(database: Database, statements: Iterable[str], how: str = "QUERY PLAN") -> list[str]:
    """The query plans of the statements, or (`how` is empty) their opcodes."""
    queries = list(statements)
    assert queries

    def explain(connection: sqlite3.Connection) -> list[str]:
        column = "detail" if how else "opcode"
        return [row[column] for query in queries for row in connection.execute(f"EXPLAIN {how} {query}")]

    return await database.read(explain)
