"""The outbox: a row for each change that somebody is told of, in the transaction of the change."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from deployd.domain import Deploy
from deployd.errors import Unavailable
from deployd.events import Events
from deployd.status import Status
from deployd.store.database import Database
from deployd.store.outbox import Check, Report
from deployd.store.store import Store
from tests.store.given import SUCCESS, A, B, C, gone, live, queued, wanted

ALL = {"github": list(Status)}


async def _next(store: Store, reporter: str = "github") -> Report:
    report, _ = await store.next_report(reporter)
    assert report is not None
    return report


async def _told(store: Store, reporter: str = "github") -> list[str]:
    """What is next, again and again: as a reporter that takes everything would be told."""
    said = []
    while (report := (await store.next_report(reporter))[0]) is not None:
        said.append(f"{report.app}/{report.about} {report.status}")
        await store.begin_report(report)
        await store.end_report(report, "there", str(report.status))
    return said


async def test_nothing_is_kept_while_nobody_is_told(store: Store) -> None:
    await live(store, A)
    assert await store.unsent_reports() == []


async def test_each_change_is_told_in_the_order_of_what_happened(store: Store) -> None:
    await store.subscribe(ALL)
    said = []
    deploy = await queued(store, A)
    for status in SUCCESS:
        said += await _told(store)
        await gone(store, deploy, status)
    said += await _told(store)
    assert said == [f"iris/1 {status}" for status in (Status.QUEUED, *SUCCESS)]
    await live(store, B)
    assert await _told(store) == ["iris/1 retired", "iris/2 live"]


async def test_a_newer_state_replaces_one_that_waits(store: Store) -> None:
    await store.subscribe(ALL)
    await gone(store, await queued(store, A), *SUCCESS)
    assert await _told(store) == ["iris/1 live"]


async def test_superseded_deploys_are_told(store: Store) -> None:
    await store.subscribe(ALL)
    for commit in (A, B, C):
        await queued(store, commit)
    await store.take_newest("iris")
    assert sorted(await _told(store)) == ["iris/1 superseded", "iris/2 superseded", "iris/3 queued"]


async def test_both_halves_of_a_return_are_told(store: Store) -> None:
    await live(store, A)
    deploy = await queued(store, B)
    await gone(store, deploy, *SUCCESS[:-1])
    deploy = await store.advance(deploy, Status.LIVE, watched=True)
    await store.subscribe(ALL)
    await store.record_return(deploy, "it crashed")
    assert await _told(store) == ["iris/2 reverted", "iris/1 live"]


async def test_a_removed_app_is_told(store: Store) -> None:
    await store.subscribe(ALL)
    await live(store, A)
    await queued(store, B)
    await store.forget_app("iris")
    assert sorted(await _told(store)) == ["iris/1 retired", "iris/2 cancelled"]


async def test_only_those_statuses_are_told_that_a_reporter_asks_for(store: Store) -> None:
    await store.subscribe({"github": [Status.LIVE], "notify a": [Status.FAILED]})
    await live(store, A)
    await gone(store, await queued(store, B), Status.FAILED)
    assert await _told(store) == ["iris/1 live"]
    assert await _told(store, "notify a") == ["iris/2 failed"]


async def test_a_change_that_is_not_committed_is_not_told(store: Store) -> None:
    await store.subscribe(ALL)
    deploy = await queued(store, A)
    await _told(store)
    with pytest.raises(ValueError, match="cannot become"):
        await store.advance(deploy, Status.PROVEN)
    assert await _told(store) == []


async def test_a_state_that_comes_while_the_one_before_is_sent_is_told_after_it(store: Store) -> None:
    await store.subscribe(ALL)
    deploy = await queued(store, A)
    sending = await _next(store)
    await store.begin_report(sending)
    await gone(store, deploy, Status.BUILDING)
    await store.end_report(sending, "there", "queued")
    report = await _next(store)
    assert (report.status, report.remote, report.said) == (Status.BUILDING, "there", "queued")


async def test_an_app_that_is_refused_waits_and_holds_up_no_other(store: Store) -> None:
    await store.subscribe(ALL)
    await queued(store, A, "iris")
    await queued(store, A, "rose")
    await store.postpone_reports("github", "iris", 60)
    await queued(store, B, "iris")
    assert await _told(store) == ["rose/1 queued"]
    report, wait = await store.next_report("github")
    assert report is None
    assert wait is not None
    assert await store.next_report("nobody") == (None, None)
    await store.subscribe(ALL)  # a reload
    assert await _told(store) == ["iris/1 queued", "iris/2 queued"]


async def test_unsent_reports_of_a_removed_reporter_are_dropped(store: Store) -> None:
    await store.subscribe({"github": list(Status), "notify a": list(Status)})
    await queued(store, A)
    await store.subscribe({"notify a": list(Status)})
    assert [one.reporter for one in await store.unsent_reports()] == ["notify a"]


async def test_the_outbox_is_bounded_in_number_and_age(store: Store) -> None:
    await store.subscribe(ALL)
    for app in ("a", "b", "c"):
        await queued(store, A, app)
    assert await store.drop_reports("github", 3600, most=2) == 1
    assert await store.drop_reports("github", 3600, most=2) == 0
    assert await _told(store) == ["b/1 queued", "c/1 queued"]
    await queued(store, A, "d")
    assert await store.drop_reports("github", 0) == 1


async def test_sent_reports_of_a_live_release_are_not_forgotten(store: Store) -> None:
    await store.subscribe(ALL)
    await live(store, A)
    await live(store, B)
    await _told(store)
    assert await store.forget_told(0) == 1
    await live(store, C)
    assert [(one.about, one.remote) for one in [await _next(store)]] == [("2", "there")]


async def test_a_check_is_told_and_its_newer_state_replaces_it(store: Store) -> None:
    def check(title: str) -> Check:
        return Check(A, "deployd/iris", "one", title, "summary")

    await store.owe_check("github", "iris", check("nobody is told"))
    assert await store.unsent_reports() == []
    await store.subscribe(ALL)
    await store.owe_check("github", "iris", check("waits"))
    await store.owe_check("github", "iris", check("done"))
    report = await _next(store)
    assert (report.check, report.number, report.status) == (check("done"), None, None)
    await store.begin_report(report)
    await store.end_report(report, "7")
    assert await store.unsent_reports() == []


async def test_a_deploy_with_another_number_is_told_under_it(store: Store) -> None:
    await store.subscribe(ALL)
    await queued(store, A)
    await store.number_above("iris", 10)
    assert await _told(store) == ["iris/11 queued"]


async def test_an_unsent_report_is_sent_after_a_kill(tmp_path: Path) -> None:
    async def changed(path: Path) -> None:
        async with Database(path) as database:
            store = Store(database, Events())
            await store.subscribe(ALL)
            await live(store, A)
            await store.begin_report(await _next(store))

    await changed(tmp_path / "db")
    async with Database(tmp_path / "db") as database:
        report = await _next(Store(database, Events()))
        assert (report.status, report.tries, report.remote) == (Status.LIVE, 1, "")


async def test_a_flood_costs_one_row_for_each_deploy(store: Store) -> None:
    await store.subscribe(ALL)
    await asyncio.gather(*(store.queue(wanted(A, by_hand=True)) for _ in range(20)))
    newest = await store.take_newest("iris")
    assert isinstance(newest, Deploy)
    (unsent,) = await store.unsent_reports()
    assert unsent.count == 20


async def test_the_same_subscriptions_again_write_nothing_so_that_a_daemon_starts_on_a_full_disk(
    tmp_path: Path,
) -> None:
    async with Database(tmp_path / "db") as database:
        store = Store(database, Events())
        await store.subscribe(ALL)
        with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # nobody can write now
            async with asyncio.timeout(10):
                await store.subscribe(ALL)


@pytest.mark.slow
@pytest.mark.slow
async def test_a_start_with_postponed_reports_does_not_wait_for_a_disk_that_refuses_writes(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        store = Store(database, Events())
        await store.subscribe(ALL)
        await store.owe_check("github", "iris", Check(A, "deployd/iris", "x", "title", "summary"))
        await store.postpone_reports("github", "iris", 900.0)
        with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with asyncio.timeout(20):
                with pytest.raises(Unavailable):
                    await store.subscribe(ALL)
