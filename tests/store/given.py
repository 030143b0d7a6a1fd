"""What tests of the store begin with: deliveries that came, looks that decided, deploys that went their way."""

import sqlite3
from collections.abc import Awaitable, Callable, Iterable

from deployd.delivery import Delivery, Push
from deployd.domain import Deploy, Head, Skip, Status, Trigger, Wanted
from deployd.events import Events
from deployd.store.database import Database
from deployd.store.store import Store

A, B, C = "a" * 40, "b" * 40, "c" * 40
MAIN = "refs/heads/main"
SUCCESS = (Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT, Status.LIVE)


def wanted(commit: str = A, app: str = "iris", *, by_hand: bool = False) -> Wanted:
    """A commit that a look wants, or a person."""
    trigger = Trigger("manual", by="ada") if by_hand else Trigger("push", "g")
    return Wanted(app, commit, MAIN, trigger, "Subject", "Author")


async def accepted(store: Store, guid: str, commit: str = A, *apps: str) -> list[str]:
    """A delivery that tells of `commit`; the names that are answered."""
    push = Push("example.com/acme/iris", MAIN, commit)
    return await store.accept(Delivery("github", guid, "push"), push, apps or ("iris",))


async def decided(store: Store, commit: str, app: str = "iris", *, skip: str = "") -> Deploy | None:
    """A look finds the head `commit` and decides upon it; it answers every delivery that is owed."""
    owed = (await store.known([app]))[app].owed
    verdict = Skip(skip) if skip else wanted(commit, app)
    return await store.decide(app, Head(MAIN, commit), verdict, owed[-1].id if owed else None)


async def queued(store: Store, commit: str, app: str = "iris") -> Deploy:
    """The deploy of a head that a look wanted."""
    deploy = await decided(store, commit, app)
    assert deploy is not None
    return deploy


async def gone(store: Store, deploy: Deploy, *statuses: Status, reason: str = "") -> Deploy:
    """A deploy that went through the statuses, the last of them for `reason`."""
    for status in statuses:
        deploy = await store.advance(deploy, status, reason=reason if status is statuses[-1] else "")
    return deploy


async def live(store: Store, commit: str = A, app: str = "iris", *, by_hand: bool = False) -> Deploy:
    """A release; of a head that a look wanted, unless a person asked for it."""
    deploy = await store.queue(wanted(commit, app, by_hand=True)) if by_hand else await queued(store, commit, app)
    return await gone(store, deploy, *SUCCESS)


async def statements_of(database: Database, work: Callable[[Store], Awaitable[object]]) -> list[str]:
    """Every statement that the writer runs for `work`, each once."""
    asked: list[str] = []
    await database.write(lambda connection: connection.set_trace_callback(asked.append))
    await work(Store(database, Events()))
    await database.write(lambda connection: connection.set_trace_callback(None))
    return list(dict.fromkeys(asked))


async def explained(database: Database, statements: Iterable[str], how: str = "QUERY PLAN") -> list[str]:
    """How SQLite goes about the statements: the details of their plans, or (`how` is empty) their opcodes."""
    queries = list(statements)
    assert queries

    def explain(connection: sqlite3.Connection) -> list[str]:
        column = "detail" if how else "opcode"
        return [row[column] for query in queries for row in connection.execute(f"EXPLAIN {how} {query}")]

    return await database.read(explain)
