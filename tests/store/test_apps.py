"""The stored state of apps: decided and wanted heads, numbers, pausing and removal."""

from pathlib import Path

import pytest

from deployd.domain import AppState
from deployd.goal import Goal, Head, Known, Skip
from deployd.status import Status
from deployd.store.apps import app_state
from deployd.store.database import Database
from deployd.store.schema import IN_FLIGHT
from deployd.store.store import Store
from tests.store.given import (
    MAIN,
    SUCCESS,
    A,
    B,
    C,
    accepted,
    decided,
    explained,
    gone,
    live,
    queued,
    statements_of,
    wanted,
)


async def _known(store: Store) -> Known:
    return (await store.known(["iris"]))["iris"]


async def _state(store: Store) -> AppState:
    return await store.state("iris")


async def test_nothing_is_known_about_an_app_before_its_first_look(store: Store) -> None:
    assert await _known(store) == Known()
    assert await _state(store) == AppState("iris")


async def test_a_wanted_head_is_decided_and_queued_in_one_transaction(store: Store) -> None:
    deploy = await queued(store, A)
    assert (deploy.name, deploy.status, deploy.commit, deploy.ref) == ("iris/1", Status.QUEUED, A, MAIN)
    assert await _known(store) == Known(decided=Goal(A), wanted=Goal(A), wanted_ref=MAIN)
    assert await store.deploy("iris", 1) == deploy


async def test_a_skipped_head_is_decided_and_the_last_wanted_one_stays(store: Store) -> None:
    await live(store, A)
    assert await decided(store, B, skip="a mark") is None
    known = await _known(store)
    assert (known.decided, known.wanted) == (Goal(B), Goal(A))
    assert len(await store.deploys("iris")) == 1
    assert (await _state(store)).held_commit is None


async def test_a_deleted_branch_clears_the_decided_head_and_the_last_wanted_one_stays(
    store: Store,
) -> None:
    await live(store, A)
    await store.answer("iris", None, None)
    known = await _known(store)
    assert (known.decided, known.wanted) == (None, Goal(A))


async def test_a_head_that_was_decided_before_changes_nothing(store: Store) -> None:
    await live(store, A)
    before = await _known(store)
    await store.answer("iris", Head(MAIN, A), None)
    assert await _known(store) == before


@pytest.mark.parametrize("at", range(len(SUCCESS) + 1))
async def test_a_head_that_is_queued_running_or_live_gets_no_second_deploy(store: Store, at: int) -> None:
    deploy = await store.queue(wanted(A, by_hand=True))
    await gone(store, deploy, *SUCCESS[:at])
    assert await decided(store, A) is None
    assert await _known(store) == Known(decided=Goal(A), wanted=Goal(A), wanted_ref=MAIN)
    assert len(await store.deploys("iris")) == 1


@pytest.mark.parametrize("end", [Status.FAILED, Status.CANCELLED])
async def test_a_live_head_gets_no_second_deploy_after_a_later_deploy_ended(store: Store, end: Status) -> None:
    await live(store, A)
    await gone(store, await queued(store, B), end)
    assert await decided(store, A) is None
    assert len(await store.deploys("iris")) == 2
    assert (await _state(store)).held_commit is None


@pytest.mark.parametrize("at", range(len(SUCCESS)))
async def test_a_live_head_is_deployed_again_when_a_later_deploy_is_queued_or_running(store: Store, at: int) -> None:
    await live(store, A)
    await gone(store, await queued(store, B), *SUCCESS[:at])
    assert (await queued(store, A)).number == 3


@pytest.mark.parametrize("end", [Status.FAILED, Status.CANCELLED, Status.SUPERSEDED])
async def test_a_head_whose_deploy_ended_is_deployed_when_it_is_decided_again(store: Store, end: Status) -> None:
    await gone(store, await queued(store, A), end)
    await store.answer("iris", None, None)
    assert (await queued(store, A)).number == 2


async def test_the_paused_state_is_stored(store: Store) -> None:
    await store.pause("iris", paused=True)
    assert (await _state(store)).paused
    await store.pause("iris", paused=False)
    assert not (await _state(store)).paused


async def test_every_app_with_a_row_is_known(store: Store) -> None:
    await accepted(store, "1", A, "iris")
    await store.decide("rose", Head(MAIN, A), Skip("a mark"), None)
    await store.queue(wanted(A, "fern"))
    assert await store.known_apps() == ["fern", "iris", "rose"]
    assert [state.app for state in await store.states(["rose", "lily"])] == ["rose", "lily"]


async def test_after_a_lost_history_no_deploy_gets_the_number_of_the_serving_release(store: Store) -> None:
    waiting = [await store.queue(wanted(A)), await store.queue(wanted(B))]
    await store.number_above("iris", 7)
    assert [(one.number, one.commit) for one in await store.deploys("iris")] == [(9, B), (8, A)]
    await store.number_above("iris", 7)
    assert (await store.queue(wanted(C))).number == 10
    assert waiting[0].number == 1
    await store.number_above("rose", 7)
    assert (await store.queue(wanted(A, "rose"))).number == 8


async def test_a_wanted_head_keeps_its_deploy_when_that_is_renumbered(store: Store) -> None:
    await gone(store, await store.queue(wanted(B, by_hand=True)), Status.CANCELLED)
    await accepted(store, "1", A)
    await queued(store, A)
    await store.number_above("iris", 7)
    received = await store.delivery("1")
    assert received is not None
    assert [one.number for one in received.outcomes] == [9]
    deploy = await store.deploy("iris", 9)
    assert deploy is not None
    await gone(store, deploy, *SUCCESS)
    await live(store, B, by_hand=True)
    assert (await _state(store)).held_reason == "deployed by hand by ada"


async def test_a_deploy_cancelled_before_the_loss_was_noticed_keeps_its_number(store: Store) -> None:
    await gone(store, await queued(store, A), Status.CANCELLED, reason="cancelled by hand")
    await store.number_above("iris", 7)
    chosen = await gone(store, await store.queue(wanted(B)), *SUCCESS)
    assert chosen.number == 8
    assert (await _state(store)).held_reason == "iris/1 cancelled: cancelled by hand"


async def test_an_interrupted_first_deploy_that_serves_keeps_its_number(store: Store) -> None:
    deploy = await store.queue(wanted(A))
    await store.begin_step(deploy, "fetch")
    await store.number_above("iris", deploy.number)
    assert [one.number for one in await store.deploys("iris")] == [deploy.number]


async def test_a_removed_app_has_nothing_live_and_keeps_its_numbers(store: Store) -> None:
    await live(store, A)
    await queued(store, B)
    await store.pause("iris", paused=True)
    await store.forget_app("iris")
    state = await _state(store)
    assert (state.live, state.queued, state.paused, state.wanted) == (None, 0, False, None)
    assert await _known(store) == Known()
    assert [one.status for one in await store.deploys("iris")] == [Status.CANCELLED, Status.RETIRED]
    assert (await queued(store, A)).number == 3


async def test_a_removed_app_owes_no_look_and_its_deliveries_have_the_reason(store: Store) -> None:
    await accepted(store, "1", A, "iris", "rose")
    await store.forget_app("iris")
    assert (await _state(store)).owed_since is None
    received = await store.delivery("1")
    assert received is not None
    iris, rose = received.outcomes
    assert (iris.reason, iris.number, iris.looked_at is not None) == ("the app was removed", None, True)
    assert rose.looked_at is None


async def test_a_decision_needs_no_temporary_table_for_an_index(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        asked = await statements_of(database, lambda store: decided(store, A))
        opcodes = await explained(database, (one for one in asked if one.startswith("INSERT INTO deploys")), "")
    assert "Insert" in opcodes
    assert "OpenEphemeral" not in opcodes


async def test_deploys_in_flight_are_found_by_an_index(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        query = f"SELECT * FROM deploys WHERE app = 'iris' AND {IN_FLIGHT}"  # noqa: S608 - a constant
        plan = await explained(database, [query])
    assert plan == ["SEARCH deploys USING INDEX one_in_flight (app=?)"]


async def test_no_query_scans_the_whole_history(tmp_path: Path) -> None:
    async def work(store: Store) -> None:
        await accepted(store, "1", A)
        await decided(store, A)
        await store.take_newest("iris")
        await decided(store, A)
        await store._database.write(lambda connection: app_state(connection, "iris"))

    async with Database(tmp_path / "db") as database:
        asked = [one for one in await statements_of(database, work) if "deploys" in one and "INSERT" not in one]
        plans = await explained(database, asked)
        about_what_waits = await explained(database, (one for one in asked if "'queued'" in one and "UNION" not in one))
    assert [plan for plan in plans if plan.startswith("SCAN deploys")] == []
    assert [plan for plan in about_what_waits if "waiting" not in plan] == []
