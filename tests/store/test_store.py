import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from deployd.store.history import app_state
from deployd.wanted import Known

from deployd.domain import Delivery, Deploy, GateResult, Image, Status, Trigger, Wanted
from deployd.events import Events
from deployd.store.database import Database
from deployd.store.schema import IN_FLIGHT
from deployd.store.store import Store

A, B, C = "a" * 40, "b" * 40, "c" * 40
IMAGE = Image("deployd/iris", A, "sha256:1", "sha256:2")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Database(tmp_path / "db") as database:
        yield Store(database, Events())


def _wanted(commit: str = A, app: str = "iris", guid: str = "g") -> Wanted:
    return Wanted(app, commit, "refs/heads/main", Trigger("push", guid), "Subject", "Author")


async def _accept(store: Store, guid: str, *wanted: Wanted) -> list[Deploy]:
    deploys, _ = await store.accept(Delivery("github", guid, "push"), wanted)
    return deploys


async def _live(store: Store, commit: str) -> Deploy:
    deploy = await store.queue(_wanted(commit))
    for status in (Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT, Status.LIVE):
        deploy = await store.advance(deploy, status)
    return deploy


async def test_an_accepted_push_is_a_queued_deploy_with_the_next_number(store: Store) -> None:
    first = await _accept(store, "1", _wanted(A))
    second = await _accept(store, "2", _wanted(B), _wanted(B, "rose"))
    assert [(d.name, d.status, d.commit) for d in first + second] == [
        ("iris/1", Status.QUEUED, A),
        ("iris/2", Status.QUEUED, B),
        ("rose/1", Status.QUEUED, B),
    ]
    assert await store.deploy("iris", 2) == second[0]
    assert second[0].subject == "Subject"


async def test_a_repeated_delivery_answers_as_the_first_time_and_starts_nothing(store: Store) -> None:
    first = await _accept(store, "1", _wanted(A))
    assert await store.accept(Delivery("github", "1", "push"), [_wanted(A)]) == (first, [])
    assert len(await store.deploys("iris")) == 1


async def test_a_redelivery_of_a_failed_deploy_runs_again(store: Store) -> None:
    (first,) = await _accept(store, "1", _wanted(A))
    await store.advance(first, Status.FAILED, reason="no")
    again, new = await store.accept(Delivery("github", "1", "push"), [_wanted(A)])
    assert new == again
    assert again[0].name == "iris/2"
    assert (await store.accept(Delivery("github", "1", "push"), [_wanted(A)]))[1] == []


async def test_a_redelivery_runs_again_only_what_failed(store: Store) -> None:
    first = await _accept(store, "1", _wanted(A), _wanted(A, "rose"))
    await store.advance(first[1], Status.FAILED, reason="no")
    deploys, new = await store.accept(Delivery("github", "1", "push"), [_wanted(A), _wanted(A, "rose")])
    assert [deploy.name for deploy in deploys] == ["iris/1", "rose/2"]
    assert new == deploys[1:]


async def test_the_same_commit_under_another_guid_is_not_queued_twice(store: Store) -> None:
    first = await _accept(store, "1", _wanted(A))
    assert await store.accept(Delivery("github", "2", "push"), [_wanted(A)]) == (first, [])
    await _accept(store, "3", _wanted(B))
    assert (await _accept(store, "4", _wanted(A)))[0].name == "iris/3"


async def test_a_head_that_the_poll_finds_as_its_push_arrives_is_queued_once(store: Store) -> None:
    (told,) = await _accept(store, "1", _wanted(A))
    assert await store.queue_once(Wanted("iris", A, "refs/heads/main", Trigger("poll"))) == told
    assert (await store.queue_once(Wanted("iris", B, "refs/heads/main", Trigger("poll")))).name == "iris/2"
    assert len(await store.deploys("iris")) == 2


async def test_taking_the_newest_supersedes_what_waited_before_it(store: Store) -> None:
    for commit in (A, B, C):
        await store.queue(_wanted(commit))
    newest = await store.take_newest("iris")
    assert newest is not None
    assert newest.commit == C
    ends = [(d.status, d.superseded_by) for d in await store.deploys("iris")]
    assert ends == [(Status.QUEUED, None), (Status.SUPERSEDED, 3), (Status.SUPERSEDED, 3)]
    assert await store.take_newest("rose") is None


async def test_a_paused_app_lets_its_deploys_wait(store: Store) -> None:
    await store.pause("iris", paused=True)
    await store.queue(_wanted(A))
    assert await store.take_newest("iris") is None
    assert (await store.state("iris")).paused
    await store.pause("iris", paused=False)
    assert (await store.take_newest("iris")) is not None


async def test_going_live_retires_the_release_before(store: Store) -> None:
    first = await _live(store, A)
    second = await _live(store, B)
    assert [d.status for d in await store.deploys("iris")] == [Status.LIVE, Status.RETIRED]
    state = await store.state("iris")
    assert state.live is not None
    assert state.live.number == second.number
    assert (await store.deploy("iris", first.number)).finished_at is not None  # type: ignore[union-attr]
    assert second.live_at is not None


@pytest.mark.parametrize("to", [Status.LIVE, Status.RETIRED, Status.REVERTED])
async def test_a_transition_outside_the_table_is_refused_and_changes_nothing(store: Store, to: Status) -> None:
    deploy = await store.queue(_wanted(A))
    with pytest.raises(ValueError, match="iris/1 cannot become"):
        await store.advance(deploy, to)
    assert (await store.deploy("iris", 1)).status is Status.QUEUED  # type: ignore[union-attr]


async def test_ends_never_change(store: Store) -> None:
    for end in (Status.FAILED, Status.SUPERSEDED, Status.CANCELLED):
        deploy = await store.queue(_wanted(A))
        await store.advance(deploy, end)
        for to in Status:
            with pytest.raises(ValueError, match="cannot become"):
                await store.advance(deploy, to)


async def test_a_refused_transition_to_live_leaves_the_live_release_alone(store: Store) -> None:
    await _live(store, A)
    queued = await store.queue(_wanted(B))
    with pytest.raises(ValueError, match="cannot become live"):
        await store.advance(queued, Status.LIVE)
    assert (await store.state("iris")).live is not None


async def test_an_interrupted_deploy_goes_back_to_queued_and_its_steps_end(store: Store) -> None:
    deploy = await store.queue(_wanted(A))
    await store.advance(deploy, Status.BUILDING)
    await store.begin_step(deploy, "build")
    await store.advance(deploy, Status.QUEUED, reason="deployd was stopped")
    after = await store.deploy("iris", 1)
    assert after is not None
    assert (after.status, after.started_at) == (Status.QUEUED, None)
    assert [(step.name, step.status) for step in after.steps] == [("build", "cancelled")]


async def test_steps_gates_image_and_model_are_kept(store: Store) -> None:
    deploy = await store.queue(_wanted(A))
    position = await store.begin_step(deploy, "fetch")
    await store.end_step(deploy, position, "fetch", "done")
    await store.record_image(deploy, IMAGE)
    await store.record_gates(deploy, [GateResult("ready", "passed", "after 1 s")])
    await store.record_model(deploy, {"version": "1"})
    await store.record_subject(deploy, "New subject", "New author")
    after = await store.deploy("iris", 1)
    assert after is not None
    assert after.image == IMAGE
    assert after.gates == (GateResult("ready", "passed", "after 1 s"),)
    assert (after.model, after.subject, after.author) == ({"version": "1"}, "New subject", "New author")
    assert after.steps[0].status == "done"


async def test_an_app_is_held_when_the_head_it_was_asked_for_does_not_serve(store: Store) -> None:
    await _live(store, A)
    assert (await store.state("iris")).held_commit is None
    failing = await store.queue(_wanted(B))
    await store.see("iris", B)
    assert (await store.state("iris")).held_commit is None
    await store.advance(failing, Status.FAILED, reason="exit code 1")
    state = await store.state("iris")
    assert (state.held_commit, state.held_reason) == (B, "iris/2 failed: exit code 1")


async def test_the_previous_release_is_the_last_one_with_another_commit(store: Store) -> None:
    await _live(store, A)
    await _live(store, B)
    live = await _live(store, B)
    previous = await store.previous("iris", live.number)
    assert previous is not None
    assert previous.commit == A


async def test_images_of_the_live_the_previous_and_the_coming_release_are_kept(store: Store) -> None:
    for number, commit in enumerate((A, B, C)):
        deploy = await _live(store, commit)
        await store.record_image(deploy, Image("deployd/iris", commit, f"sha256:{number}"))
    coming = await store.queue(_wanted(A))
    await store.advance(coming, Status.BUILDING)
    await store.record_image(coming, Image("deployd/iris", "d" * 40, "sha256:9"))
    waiting = await store.queue(_wanted(B))
    kept = await store.kept("iris")
    assert {image.id for image in kept.images} == {"sha256:1", "sha256:2", "sha256:9"}
    assert kept.commits == {coming.commit, waiting.commit}


async def test_old_deliveries_are_forgotten_and_young_ones_stay(store: Store) -> None:
    await _accept(store, "1", _wanted(A))
    assert await store.forget_deliveries(older_than=3600) == 0
    assert await store.forget_deliveries(older_than=-1) == 1


async def test_lists_go_backwards_in_pages(store: Store) -> None:
    for commit in (A, B, C):
        await store.queue(_wanted(commit))
    assert [d.number for d in await store.deploys("iris", limit=2)] == [3, 2]
    assert [d.number for d in await store.deploys("iris", limit=2, before=2)] == [1]


async def test_after_a_loss_of_the_history_no_deploy_gets_the_number_of_what_serves(store: Store) -> None:
    waiting = [await store.queue(_wanted(A)), await store.queue(_wanted(B))]
    await store.number_above("iris", 7)
    assert [(d.number, d.commit) for d in await store.deploys("iris")] == [(9, B), (8, A)]
    await store.number_above("iris", 7)
    assert (await store.queue(_wanted(C))).number == 10
    assert waiting[0].number == 1
    await store.number_above("rose", 7)
    assert (await store.queue(_wanted(A, "rose"))).number == 8


async def test_a_first_deploy_that_was_interrupted_keeps_its_number_though_it_serves(store: Store) -> None:
    deploy = await store.queue(_wanted(A))
    await store.begin_step(deploy, "fetch")
    await store.number_above("iris", deploy.number)
    assert [d.number for d in await store.deploys("iris")] == [deploy.number]


async def test_a_removed_app_has_nothing_live_and_its_numbers_go_on(store: Store) -> None:
    await _live(store, A)
    await store.queue(_wanted(B))
    await store.forget_app("iris")
    state = await store.state("iris")
    assert (state.live, state.queued) == (None, 0)
    assert (await store.queue(_wanted(C))).number == 3


async def test_a_declined_head_is_remembered_and_queues_nothing(store: Store) -> None:
    declined = Wanted("iris", B, "refs/heads/main", Trigger("push", "2"), declined=True)
    assert await _accept(store, "2", declined) == []
    assert await store.known_head("iris") == Known(declined=B)
    both = await _accept(store, "3", Wanted("rose", B, "refs/heads/main", Trigger("push", "3")), declined)
    assert [deploy.name for deploy in both] == ["rose/1"]


async def test_the_latest_deploy_of_a_commit_waits_or_was_begun(store: Store) -> None:
    assert await store.latest_of("iris", A) is None
    first = await store.queue(_wanted(A))
    assert await store.latest_of("iris", A) == first
    await store.advance(first, Status.BUILDING)
    assert (await store.latest_of("iris", A)).number == 1  # type: ignore[union-attr]
    again = await store.queue(_wanted(A))
    assert await store.latest_of("iris", A) == again
    await store.queue(_wanted(B))
    await store.take_newest("iris")
    assert (await store.latest_of("iris", A)).number == 1  # type: ignore[union-attr]


async def test_queueing_a_deploy_fills_no_table_of_its_own_for_an_index(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        asked: list[str] = []
        await database.write(lambda connection: connection.set_trace_callback(asked.append))
        await Store(database, Events()).queue(_wanted(A))
        inserts = [query for query in asked if query.startswith("INSERT INTO deploys")]

        def steps(connection: sqlite3.Connection) -> list[str]:
            return [row["opcode"] for query in inserts for row in connection.execute(f"EXPLAIN {query}")]

        found = await database.read(steps)
        assert "Insert" in found
        assert "OpenEphemeral" not in found


async def test_what_is_in_flight_is_found_by_its_index(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        query = f"EXPLAIN QUERY PLAN SELECT * FROM deploys WHERE app = 'iris' AND {IN_FLIGHT}"  # noqa: S608 - a constant
        plan = await database.read(lambda connection: [row["detail"] for row in connection.execute(query)])
        assert plan == ["SEARCH deploys USING INDEX one_in_flight (app=?)"]


async def test_no_question_about_what_waits_reads_the_whole_history(tmp_path: Path) -> None:
    async with Database(tmp_path / "db") as database:
        asked: list[str] = []
        await database.write(lambda connection: connection.set_trace_callback(asked.append))
        store = Store(database, Events())
        await store.queue(_wanted(A))
        await store.take_newest("iris")
        await database.write(lambda connection: app_state(connection, "iris"))

        def plans(connection: sqlite3.Connection) -> list[str]:
            about = [query for query in asked if "'queued'" in query and "deploys" in query and "INSERT" not in query]
            assert about
            return [row[3] for query in about for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]

        assert [plan for plan in await database.read(plans) if "waiting" not in plan] == []
