"""The releases of an app: which of them stands by for a watched one, and the return to it."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from msgspec import structs

from deployd.domain import Deploy, GateResult, Image
from deployd.events import Events
from deployd.goal import Goal, Head
from deployd.status import Status
from deployd.store.database import Database
from deployd.store.store import Store
from tests.store.given import MAIN, SUCCESS, A, B, C, gone, live, queued, wanted


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(tmp_path / "db") as database:
        yield database


@pytest.fixture
async def store(database: Database) -> Store:
    return Store(database, Events())


async def _watched(store: Store, commit: str) -> Deploy:
    """A release that is live and watched."""
    deploy = await gone(store, await queued(store, commit), *SUCCESS[:-1])
    return await store.advance(deploy, Status.LIVE, watched=True)


async def _statuses(store: Store) -> list[str]:
    return [deploy.status.value for deploy in reversed(await store.deploys("iris"))]


async def test_the_release_before_stands_by_for_a_watched_one(store: Store) -> None:
    await live(store, A)
    assert (await _watched(store, B)).standby == 1


async def test_nothing_stands_by_for_a_release_that_is_not_watched(store: Store) -> None:
    await live(store, A)
    assert (await live(store, B)).standby is None


async def test_nothing_stands_by_for_the_first_release(store: Store) -> None:
    assert (await _watched(store, A)).standby is None


async def test_a_release_that_replaces_a_watched_one_has_the_same_standby(store: Store) -> None:
    await live(store, A)
    second = await _watched(store, B)
    assert (await _watched(store, C)).standby == 1
    now = await store.deploy("iris", second.number)
    assert now is not None
    assert (now.status, now.standby) == (Status.RETIRED, None)


async def test_a_release_that_has_passed_its_watch_stands_by_for_the_next(store: Store) -> None:
    await live(store, A)
    await store.end_watch(await _watched(store, B))
    assert (await _watched(store, C)).standby == 2


async def test_a_release_on_another_target_cannot_stand_by(store: Store) -> None:
    await live(store, A)
    deploy = await queued(store, B)
    await store.record_target(deploy, "kubernetes")
    deploy = await gone(store, deploy, *SUCCESS[:-1])
    assert (await store.advance(deploy, Status.LIVE, watched=True)).standby is None


async def test_a_return_reverts_the_one_and_makes_the_other_live_again(store: Store) -> None:
    await live(store, A)
    bad = await _watched(store, B)
    before = await store.deploy("iris", 1)
    back = await store.record_return(bad, "5 of 100 requests failed")
    assert (back.number, back.status, back.finished_at, back.reason) == (1, Status.LIVE, None, "")
    assert before is not None
    assert back.live_at == before.live_at
    now = await store.deploy("iris", 2)
    assert now is not None
    assert (await store.state("iris")).live_since == now.finished_at
    assert (now.status, now.reason, now.standby) == (Status.REVERTED, "5 of 100 requests failed", None)
    assert now.finished_at is not None


async def test_a_return_is_one_transaction(store: Store, database: Database) -> None:
    await live(store, A)
    bad = await _watched(store, B)

    def refuse(connection: sqlite3.Connection) -> None:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON deploys WHEN NEW.status = 'live' AND OLD.status = 'retired' "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )

    await database.write(refuse)
    with pytest.raises(sqlite3.Error):
        await store.record_return(bad, "bad")
    assert await _statuses(store) == ["retired", "live"]


@pytest.mark.parametrize("made", [live, _watched], ids=["not watched", "the first"])
async def test_nothing_returns_where_nothing_stands_by(store: Store, made: Callable[..., Awaitable[Deploy]]) -> None:
    deploy = await made(store, A)
    with pytest.raises(ValueError, match="cannot return"):
        await store.record_return(deploy, "bad")
    assert await _statuses(store) == ["live"]


async def test_a_return_happens_once(store: Store) -> None:
    await live(store, A)
    bad = await _watched(store, B)
    await store.record_return(bad, "bad")
    with pytest.raises(ValueError, match="cannot return"):
        await store.record_return(bad, "bad")
    assert await _statuses(store) == ["live", "reverted"]


@pytest.mark.parametrize(("number", "to"), [(1, Status.LIVE), (2, Status.REVERTED)])
async def test_no_half_of_a_return_can_be_recorded(store: Store, number: int, to: Status) -> None:
    await live(store, A)
    await _watched(store, B)
    deploy = await store.deploy("iris", number)
    assert deploy is not None
    with pytest.raises(ValueError, match="cannot become"):
        await store.advance(deploy, to)
    assert await _statuses(store) == ["retired", "live"]


async def test_an_app_is_held_after_a_return_with_the_reason(store: Store) -> None:
    await live(store, A)
    await store.record_return(await _watched(store, B), "5 of 100 requests failed")
    state = await store.state("iris")
    assert (state.held_commit, state.held_reason) == (B, "iris/2 reverted: 5 of 100 requests failed")
    assert state.failed is not None
    assert state.failed.number == 2


async def test_the_next_head_ends_the_hold(store: Store) -> None:
    await live(store, A)
    await store.record_return(await _watched(store, B), "bad")
    await live(store, C)
    assert (await store.state("iris")).held_reason == ""


async def test_a_look_at_the_reverted_head_queues_nothing(store: Store) -> None:
    await live(store, A)
    await store.record_return(await _watched(store, B), "bad")
    known = (await store.known(["iris"]))["iris"]
    assert known.decided == Goal(B)
    assert await store.try_again("iris", "docker", "other settings") is None
    assert await store.renew("iris", "docker", "other config") is None


async def test_a_return_that_was_begun_is_known_until_it_is_recorded(store: Store) -> None:
    await live(store, A)
    bad = await _watched(store, B)
    await store.begin_return(bad, "bad")
    state = await store.state("iris")
    assert state.live is not None
    assert (state.live.number, state.live.returning) == (2, "bad")
    await store.abandon_return(bad)
    state = await store.state("iris")
    assert state.live is not None
    assert state.live.returning == ""


async def test_the_results_of_a_watch_are_kept_beside_those_of_the_gates(store: Store) -> None:
    deploy = await live(store, A)
    golden = GateResult("golden", "passed", "3 of 3")
    await store.record_gates(deploy, [golden])
    seen = GateResult("golden", "passed", "9 of 9 replays passed", moment="after")
    await store.record_watch(deploy, [structs.replace(seen, verdict="not_judged")])
    await store.record_watch(deploy, [seen])
    now = await store.deploy("iris", 1)
    assert now is not None
    assert now.gates == (golden, seen)


async def test_the_image_of_what_stands_by_is_kept(store: Store) -> None:
    for number, commit in enumerate((A, B, C, "d" * 40), start=1):
        deploy = await (live(store, commit) if number == 1 else _watched(store, commit))
        await store.record_image(deploy, Image("iris", commit, f"sha256:{number}"))
    kept = await store.kept("iris")
    assert "sha256:1" in {image.id for image in kept.images}


async def test_a_person_can_deploy_a_reverted_commit_again(store: Store) -> None:
    await live(store, A)
    await store.record_return(await _watched(store, B), "bad")
    deploy = await gone(store, await store.queue(wanted(B, by_hand=True)), *SUCCESS[:-1])
    again = await store.advance(deploy, Status.LIVE, watched=True)
    assert again.standby == 1
    assert (await store.state("iris")).held_reason == ""
    assert await store.decide("iris", Head(MAIN, B), wanted(B), None) is None
