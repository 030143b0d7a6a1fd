"""The deliveries: the looks that they owe, and their outcomes."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from deployd.delivery import Delivery, Followed, Owed, Push, Received
from deployd.errors import Unavailable
from deployd.goal import Goal, Head
from deployd.status import Status
from deployd.store.database import Database
from deployd.store.store import Store
from tests.store.given import MAIN, A, B, C, accepted, decided, explained, gone, live, queued, statements_of, wanted

DEV = "refs/heads/dev"


async def _received(store: Store, guid: str) -> Received:
    found = await store.delivery(guid)
    assert found is not None
    return found


async def _owed(store: Store, app: str = "iris") -> list[str]:
    return [one.guid for one in (await store.known([app]))[app].owed]


async def _came_of(store: Store, guid: str) -> list[tuple[str, int | None, str]]:
    """For each app of a delivery the number of the deploy, and the reason; `owed` where no look has answered it."""
    outcomes = (await _received(store, guid)).outcomes
    return [(one.app, one.number, one.reason if one.looked_at else "owed") for one in outcomes]


async def test_a_delivery_is_stored_and_owes_each_of_its_apps_a_look(store: Store) -> None:
    assert await accepted(store, "1", A, "iris", "rose") == ["iris", "rose"]
    received = await _received(store, "1")
    assert received.delivery == Delivery("github", "1", "push")
    assert received.followed == (Followed(Push("example.com/acme/iris", MAIN, A), ("iris", "rose")),)
    assert await _came_of(store, "1") == [("iris", None, "owed"), ("rose", None, "owed")]
    known = await store.known(["iris", "rose", "lily"])
    assert [owed.commit for owed in known["iris"].owed] == [owed.commit for owed in known["rose"].owed] == [A]
    assert known["lily"].owed == ()
    assert (await store.state("iris")).owed_since == received.received_at
    assert (await store.state("lily")).owed_since is None


async def test_the_first_look_that_begins_after_a_delivery_answers_it(store: Store) -> None:
    await accepted(store, "1", A)
    deploy = await queued(store, A)
    (outcome,) = (await _received(store, "1")).outcomes
    assert (outcome.number, outcome.commit, outcome.reason) == (deploy.number, A, "")
    assert outcome.looked_at is not None
    assert await _owed(store) == []
    assert (await store.state("iris")).owed_since is None
    await accepted(store, "2", B)
    await queued(store, B)
    assert [await _came_of(store, guid) for guid in "12"] == [[("iris", 1, "")], [("iris", 2, "")]]


async def test_a_delivery_during_a_look_is_answered_by_the_next_look(store: Store) -> None:
    await accepted(store, "1", A)
    (before,) = (await store.known(["iris"]))["iris"].owed
    await accepted(store, "2", B)
    await store.decide("iris", Head(MAIN, A), wanted(A), before.id)
    assert await _came_of(store, "1") == [("iris", 1, "")]
    assert await _came_of(store, "2") == [("iris", None, "owed")]
    assert await _owed(store) == ["2"]
    assert (await store.state("iris")).owed_since == (await _received(store, "2")).received_at


async def test_owed_since_depends_only_on_the_deliveries_of_that_app(store: Store) -> None:
    await accepted(store, "1", A)
    (before,) = (await store.known(["iris"]))["iris"].owed
    await accepted(store, "2", A, "rose")
    await accepted(store, "3", B, "rose", "iris")
    await store.decide("iris", Head(MAIN, A), wanted(A), before.id)
    assert (await store.state("iris")).owed_since == (await _received(store, "3")).received_at


async def test_one_look_answers_several_deliveries(store: Store) -> None:
    for guid, commit in (("1", A), ("2", B), ("3", C)):
        await accepted(store, guid, commit)
    assert await _owed(store) == ["1", "2", "3"]
    await decided(store, C)
    assert [await _came_of(store, guid) for guid in "123"] == [[("iris", 1, "")]] * 3
    assert {outcome.commit for guid in "123" for outcome in (await _received(store, guid)).outcomes} == {C}


async def test_a_look_answers_for_one_app_only(store: Store) -> None:
    await accepted(store, "1", A, "iris", "rose")
    await decided(store, A, "rose")
    assert await _came_of(store, "1") == [("iris", None, "owed"), ("rose", 1, "")]


async def test_a_delivery_of_a_skipped_head_has_the_reason(store: Store) -> None:
    await accepted(store, "1", A)
    await decided(store, A, skip="no file under paths changed (model)")
    assert await _came_of(store, "1") == [("iris", None, "no file under paths changed (model)")]
    await accepted(store, "2", A)
    await store.answer("iris", Head(MAIN, A), (await store.known(["iris"]))["iris"].owed[-1].id)
    assert await _came_of(store, "2") == [("iris", None, "no file under paths changed (model)")]


async def test_a_late_delivery_is_answered_with_the_outcome_of_the_decided_head(store: Store) -> None:
    await live(store, B)
    await accepted(store, "late", A)
    await store.answer("iris", Head(MAIN, B), (await store.known(["iris"]))["iris"].owed[-1].id)
    assert await _came_of(store, "late") == [("iris", 1, "")]


async def test_a_delivery_without_a_head_has_the_reason(store: Store) -> None:
    await accepted(store, "1", "0" * 40)
    (owed,) = (await store.known(["iris"]))["iris"].owed
    assert owed == Owed(owed.id, "1", "0" * 40)
    assert owed.names_no_commit
    await store.answer("iris", None, owed.id, "the remote has no refs/heads/main; the live release stays")
    (outcome,) = (await _received(store, "1")).outcomes
    assert (outcome.number, outcome.commit) == (None, None)
    assert outcome.reason == "the remote has no refs/heads/main; the live release stays"


async def test_a_look_without_owed_deliveries_answers_none(store: Store) -> None:
    await accepted(store, "1", A)
    await store.answer("iris", Head(MAIN, A), None)
    await store.decide("iris", Head(MAIN, A), wanted(A), None)
    assert await _came_of(store, "1") == [("iris", None, "owed")]


async def test_a_repeated_guid_is_answered_as_the_first_time_and_owes_no_look(store: Store) -> None:
    await accepted(store, "1", A, "iris", "rose")
    assert await accepted(store, "1", B, "lily") == ["iris", "rose"]
    assert await _owed(store) == ["1"]
    await decided(store, A)
    assert await accepted(store, "1", A) == ["iris", "rose"]
    assert await _owed(store) == []
    assert await _owed(store, "lily") == []
    assert len(await store.deliveries()) == 1


async def _told_of_two(store: Store) -> list[str]:
    """A delivery of two refs, each with an app that follows it."""
    followed = [
        Followed(Push("example.com/acme/iris", MAIN, A), ("iris",)),
        Followed(Push("example.com/acme/iris", DEV, B), ("rose", "lily")),
    ]
    return await store.accept(Delivery("bitbucket", "1", "push"), followed)


async def test_a_delivery_of_several_refs_is_one_row_that_owes_each_app_a_look_for_its_own_commit(store: Store) -> None:
    assert await _told_of_two(store) == ["iris", "rose", "lily"]
    (received,) = await store.deliveries()
    assert [(one.push.ref, one.push.commit, one.apps) for one in received.followed] == [
        (MAIN, A, ("iris",)),
        (DEV, B, ("rose", "lily")),
    ]
    known = await store.known(["iris", "rose", "lily"])
    assert [[owed.commit for owed in known[app].owed] for app in ("iris", "rose", "lily")] == [[A], [B], [B]]
    assert [await store.was_delivered(commit) for commit in (A, B, C)] == [True, True, False]
    await decided(store, A)
    await decided(store, B, "rose")
    assert await _came_of(store, "1") == [("iris", 1, ""), ("rose", 1, ""), ("lily", None, "owed")]


async def test_a_repeated_delivery_of_several_refs_lets_only_what_failed_be_decided_again(store: Store) -> None:
    names = await _told_of_two(store)
    assert await _told_of_two(store) == names
    await queued(store, A)
    await gone(store, await queued(store, B, "rose"), Status.FAILED, reason="no")
    assert await _told_of_two(store) == names
    known = await store.known(["iris", "rose"])
    assert (known["iris"].decided, known["rose"].decided) == (Goal(A), None)
    assert [(one.guid, one.commit) for one in known["rose"].owed] == [("1", B)]
    assert len(await store.deliveries()) == 1


async def test_the_same_guid_from_another_forge_is_another_delivery(store: Store) -> None:
    await accepted(store, "1", A)
    await store.accept(Delivery("gitlab", "1", "push"), [Followed(Push("example.com/acme/iris", MAIN, B), ("iris",))])
    assert [one.delivery.forge for one in await store.deliveries()] == ["gitlab", "github"]
    assert (await _received(store, "1")).delivery.forge == "gitlab"


async def test_a_redelivery_of_a_failed_head_lets_it_be_decided_again(store: Store) -> None:
    await accepted(store, "1", A)
    await gone(store, await queued(store, A), Status.FAILED, reason="no")
    assert await accepted(store, "1", A) == ["iris"]
    known = (await store.known(["iris"]))["iris"]
    assert (known.decided, known.wanted, [one.guid for one in known.owed]) == (None, None, ["1"])
    assert (await queued(store, A)).name == "iris/2"
    assert await _came_of(store, "1") == [("iris", 2, "")]
    assert await accepted(store, "1", A) == ["iris"]
    assert await _owed(store) == []


async def test_a_redelivery_affects_only_the_app_whose_deploy_failed(store: Store) -> None:
    await accepted(store, "1", A, "iris", "rose")
    await queued(store, A)
    await gone(store, await queued(store, A, "rose"), Status.FAILED, reason="no")
    await accepted(store, "1", A)
    known = await store.known(["iris", "rose"])
    assert (known["iris"].decided, known["rose"].decided) == (Goal(A), None)


@pytest.mark.parametrize("end", [Status.CANCELLED, Status.SUPERSEDED, None])
async def test_a_redelivery_of_a_head_that_did_not_fail_changes_nothing(store: Store, end: Status | None) -> None:
    await accepted(store, "1", A)
    deploy = await queued(store, A)
    if end is not None:
        await store.advance(deploy, end)
    await accepted(store, "1", A)
    assert (await store.known(["iris"]))["iris"].decided == Goal(A)


async def test_a_redelivery_of_a_failed_commit_that_is_no_longer_the_head_changes_nothing(store: Store) -> None:
    await accepted(store, "1", A)
    await gone(store, await queued(store, A), Status.FAILED)
    await decided(store, B, skip="a mark")
    await accepted(store, "1", A)
    known = (await store.known(["iris"]))["iris"]
    assert (known.decided, known.wanted, known.owed) == (Goal(B), Goal(A), ())


async def test_a_redelivery_of_a_head_that_was_skipped_after_a_failure_changes_nothing(store: Store) -> None:
    await accepted(store, "1", A)
    await gone(store, await queued(store, A), Status.FAILED)
    await accepted(store, "2", B)
    await decided(store, B, skip="a mark")
    await accepted(store, "2", B)
    assert (await store.known(["iris"]))["iris"].decided == Goal(B)


async def test_deliveries_are_listed_newest_first_in_pages(store: Store) -> None:
    for guid in "123":
        await accepted(store, guid, A)
    page = await store.deliveries(limit=2)
    assert [one.delivery.guid for one in page] == ["3", "2"]
    assert [one.delivery.guid for one in await store.deliveries(limit=2, before=page[-1].id)] == ["1"]
    assert await store.delivery("4") is None


async def test_a_refusing_disk_makes_accept_fail_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_exception(Unavailable("the disk is full"))
        return future

    with monkeypatch.context() as patched:
        patched.setattr(store._database, "write", refused)
        with pytest.raises(Unavailable, match="full"):
            await accepted(store, "1", A)
    assert await store.delivery("1") is None


async def test_old_deliveries_and_looks_are_deleted_and_young_ones_stay(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployd.store.deliveries._FORGOTTEN_AT_ONCE", 2)
    apps = ["iris", "rose", "lily", "fern", "moss"]
    await accepted(store, "1", A, *apps)
    for app in apps:
        await decided(store, A, app)
    assert await store.forget_deliveries(older_than=3600) == 0
    assert await _came_of(store, "1") == [(app, 1, "") for app in apps]
    assert await store.forget_deliveries(older_than=-1) == 1
    assert await store.delivery("1") is None
    left = await store._database.read(lambda connection: connection.execute("SELECT count(*) FROM looks").fetchone()[0])
    assert left == 0


async def test_a_deleted_delivery_owes_no_look(store: Store) -> None:
    await accepted(store, "1", A, "iris", "rose")
    await store.forget_deliveries(older_than=-1)
    assert await _owed(store) == []
    assert [state.owed_since for state in await store.states(["iris", "rose"])] == [None, None]
    await accepted(store, "2", B)
    assert await _owed(store) == ["2"]


async def test_an_id_is_never_reused_even_after_all_deliveries_are_deleted(store: Store) -> None:
    await accepted(store, "1", A)
    first = (await _received(store, "1")).id
    await store.forget_deliveries(older_than=-1)
    await accepted(store, "2", A)
    assert (await _received(store, "2")).id > first


async def test_no_query_about_deliveries_scans_the_table(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await accepted(store, "1", A)
        await accepted(store, "1", A)
        await accepted(store, "2", B)
        await decided(store, A)
        await store.forget_deliveries(older_than=60)
        await store._database.write(_read_as_the_api_does)

    async with Database(tmp_path / "db") as database:
        asked_for = await statements_of(database, work)
        plans = await explained(database, (one for one in asked_for if "deliveries" in one or "looks" in one))
    assert [plan for plan in plans if plan.startswith("SEARCH deliveries")]
    assert [plan for plan in plans if plan.startswith("SEARCH looks")]
    assert [plan for plan in plans if plan.startswith(("SCAN deliveries", "SCAN looks"))] == []


def _read_as_the_api_does(connection: sqlite3.Connection) -> None:
    from deployd.store.deliveries import _received as received  # noqa: PLC0415 - what two questions have in common

    for row in connection.execute("SELECT * FROM deliveries WHERE guid = '1' ORDER BY id DESC LIMIT 1").fetchall():
        received(connection, row)
