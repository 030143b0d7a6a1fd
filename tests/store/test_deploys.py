"""The deploys: their numbers, what they may become, and what is asked of their history."""

import pytest
from msgspec.structs import replace

from deployd.domain import Deploy, GateResult, Image
from deployd.status import Status
from deployd.store.store import Store
from tests.store.given import SUCCESS, A, B, C, gone, live, queued, wanted

IMAGE = Image("deployd/iris", A, "sha256:1", "sha256:2")


async def _deploy(store: Store, number: int) -> Deploy:
    found = await store.deploy("iris", number)
    assert found is not None
    return found


async def _released(store: Store, commit: str, image: str) -> Deploy:
    deploy = await live(store, commit, by_hand=True)
    await store.record_image(deploy, Image("deployd/iris", commit, image))
    return deploy


async def _kept(store: Store) -> set[str]:
    return {image.id for image in (await store.kept("iris")).images}


async def test_a_queued_deploy_gets_the_next_number_of_its_app(store: Store) -> None:
    queued = [await store.queue(one) for one in (wanted(A), wanted(B), wanted(B, "rose"))]
    assert [(one.name, one.status, one.commit) for one in queued] == [
        ("iris/1", Status.QUEUED, A),
        ("iris/2", Status.QUEUED, B),
        ("rose/1", Status.QUEUED, B),
    ]
    assert await store.deploy("iris", 2) == queued[1]
    assert (queued[1].subject, queued[1].author, queued[1].trigger.delivery) == ("Subject", "Author", "g")


async def test_taking_the_newest_deploy_supersedes_the_older_queued_ones(store: Store) -> None:
    for commit in (A, B, C):
        await store.queue(wanted(commit))
    newest = await store.take_newest("iris")
    assert newest is not None
    assert newest.commit == C
    ends = [(one.status, one.superseded_by) for one in await store.deploys("iris")]
    assert ends == [(Status.QUEUED, None), (Status.SUPERSEDED, 3), (Status.SUPERSEDED, 3)]
    assert (await _deploy(store, 1)).reason == "a newer deploy came: iris/3"
    assert await store.take_newest("rose") is None


async def test_proofs_wait_for_what_is_to_serve_and_are_taken_oldest_first(store: Store) -> None:
    proofs = [await store.queue(replace(wanted(commit), prove=True)) for commit in (A, B)]
    deploy = await store.queue(wanted(C))
    last = await store.queue(replace(wanted(A), prove=True))
    assert await store.newest_queued("iris") == deploy.number
    taken = await store.take_newest("iris")
    assert taken is not None
    assert taken.number == deploy.number
    await gone(store, taken, *SUCCESS)
    for proof in (*proofs, last):
        taken = await store.take_newest("iris")
        assert taken is not None
        assert (taken.number, taken.prove) == (proof.number, True)
        await gone(store, taken, Status.BUILDING, Status.CHECKING, Status.PROVEN)
    assert await store.take_newest("iris") is None
    assert [one.superseded_by for one in await store.deploys("iris")] == [None] * 4


async def test_the_release_before_a_deploy_is_found_even_while_it_serves(store: Store) -> None:
    first = await live(store, A, by_hand=True)
    second = await gone(store, await store.queue(wanted(B, by_hand=True)), *SUCCESS[:-1])
    second = await store.advance(second, Status.LIVE, watched=True)
    proof = await store.queue(replace(wanted(C), prove=True))
    assert await store.served_before("iris", first.number) is None
    before = [await store.served_before("iris", number) for number in (second.number, proof.number)]
    assert [one and one.number for one in before] == [first.number, second.number]
    await store.record_return(second, "bad")
    found = await store.served_before("iris", proof.number)
    assert found is not None
    assert found.number == first.number


async def test_deploys_of_a_paused_app_stay_queued(store: Store) -> None:
    await store.pause("iris", paused=True)
    await store.queue(wanted(A))
    assert await store.take_newest("iris") is None
    await store.pause("iris", paused=False)
    assert (await store.take_newest("iris")) is not None


async def test_going_live_retires_the_previous_release(store: Store) -> None:
    await live(store, A)
    second = await live(store, B)
    assert [one.status for one in await store.deploys("iris")] == [Status.LIVE, Status.RETIRED]
    assert second.live_at is not None
    assert (await _deploy(store, 1)).finished_at is not None


@pytest.mark.parametrize("to", [Status.LIVE, Status.RETIRED, Status.REVERTED])
async def test_a_transition_outside_the_table_is_refused_and_changes_nothing(store: Store, to: Status) -> None:
    deploy = await store.queue(wanted(A))
    with pytest.raises(ValueError, match="iris/1 cannot become"):
        await store.advance(deploy, to)
    assert (await _deploy(store, 1)).status is Status.QUEUED


@pytest.mark.parametrize("end", [Status.FAILED, Status.SUPERSEDED, Status.CANCELLED])
async def test_a_final_status_never_changes(store: Store, end: Status) -> None:
    deploy = await gone(store, await store.queue(wanted(A)), end)
    for to in Status:
        with pytest.raises(ValueError, match="cannot become"):
            await store.advance(deploy, to)


async def test_a_refused_transition_to_live_leaves_the_live_release_alone(store: Store) -> None:
    await live(store, A)
    waiting = await store.queue(wanted(B))
    with pytest.raises(ValueError, match="cannot become live"):
        await store.advance(waiting, Status.LIVE)
    assert (await _deploy(store, 1)).status is Status.LIVE


async def test_a_deploy_that_was_stopped_before_it_began_stays_queued_with_a_reason(store: Store) -> None:
    deploy = await store.queue(wanted(A))
    await store.advance(deploy, Status.QUEUED, reason="deployd was stopped")
    now = await _deploy(store, 1)
    assert (now.status, now.reason, now.started_at) == (Status.QUEUED, "deployd was stopped", None)


async def test_only_a_queued_deploy_can_be_withdrawn(store: Store) -> None:
    waiting = await store.queue(wanted(A))
    withdrawn = await store.withdraw(waiting)
    assert (withdrawn.status, withdrawn.reason) == (Status.CANCELLED, "cancelled by hand")
    assert await store.withdraw(waiting) == withdrawn == await _deploy(store, 1)
    begun = await store.advance(await store.queue(wanted(A)), Status.BUILDING)
    assert await store.withdraw(begun) == begun


async def test_everything_recorded_about_a_deploy_is_read_back(store: Store) -> None:
    deploy = await store.queue(wanted(A))
    await store.record_image(deploy, IMAGE)
    await store.record_gates(deploy, [GateResult("ready", "passed", "after 1 s")])
    await store.record_model(deploy, {"version": "1"})
    await store.record_subject(deploy, "New subject", "New author")
    await store.record_target(deploy, "kubernetes")
    after = await _deploy(store, 1)
    assert after.image == IMAGE
    assert after.gates == (GateResult("ready", "passed", "after 1 s"),)
    assert (after.model, after.subject, after.author) == ({"version": "1"}, "New subject", "New author")
    assert (deploy.target, after.target) == ("docker", "kubernetes")


async def test_deploys_are_listed_newest_first_in_pages(store: Store) -> None:
    for commit in (A, B, C):
        await store.queue(wanted(commit))
    assert [one.number for one in await store.deploys("iris", limit=2)] == [3, 2]
    assert [one.number for one in await store.deploys("iris", limit=2, before=2)] == [1]


async def test_the_latest_deploy_of_a_commit_is_queued_or_has_begun(store: Store) -> None:
    assert await store.latest_of("iris", A) is None
    first = await store.queue(wanted(A))
    assert await store.latest_of("iris", A) == first
    await store.advance(first, Status.BUILDING)
    again = await store.queue(wanted(A))
    assert await store.latest_of("iris", A) == again
    await store.queue(wanted(B))
    await store.take_newest("iris")
    latest = await store.latest_of("iris", A)
    assert latest is not None
    assert latest.number == 1


async def test_the_number_of_the_newest_queued_deploy_is_known(store: Store) -> None:
    assert await store.newest_queued("iris") == 0
    for commit in (A, B):
        await store.queue(wanted(commit))
    assert await store.newest_queued("iris") == 2


async def test_the_previous_release_is_the_last_one_with_another_commit(store: Store) -> None:
    await live(store, A)
    await live(store, B)
    newest = await live(store, B, by_hand=True)
    previous = await store.previous("iris", newest.number)
    assert previous is not None
    assert previous.commit == A


async def test_released_lists_every_deploy_that_was_live(store: Store) -> None:
    await live(store, A)
    await gone(store, await store.queue(wanted(B)), Status.FAILED)
    await live(store, C)
    assert [one.number for one in await store.released("iris")] == [3, 1]
    assert [one.number for one in await store.released("iris", 1)] == [3]


async def test_images_of_the_live_previous_and_coming_releases_are_kept(store: Store) -> None:
    for number, commit in enumerate((A, B, C)):
        await _released(store, commit, f"sha256:{number}")
    coming = await gone(store, await store.queue(wanted(A)), Status.BUILDING)
    await store.record_image(coming, Image("deployd/iris", "d" * 40, "sha256:9"))
    waiting = await store.queue(wanted(B))
    kept = await store.kept("iris")
    assert {image.id for image in kept.images} == {"sha256:1", "sha256:2", "sha256:9"}
    assert kept.commits == {coming.commit, waiting.commit}


async def test_the_image_for_a_rollback_is_kept_however_often_the_live_commit_was_deployed(
    store: Store,
) -> None:
    await _released(store, C, "sha256:c")
    await _released(store, A, "sha256:a")
    await _released(store, B, "sha256:b")
    newest = await _released(store, B, "sha256:b")
    previous = await store.previous("iris", newest.number)
    assert previous is not None
    assert previous.image is not None
    assert previous.image.id == "sha256:a"
    assert await _kept(store) == {"sha256:a", "sha256:b"}


async def test_the_image_of_the_only_release_is_kept(store: Store) -> None:
    assert await _kept(store) == set()
    await _released(store, A, "sha256:a")
    assert await _kept(store) == {"sha256:a"}


async def test_a_reverted_release_is_not_kept_as_the_previous_one(store: Store) -> None:
    await _released(store, A, "sha256:a")
    bad = await gone(store, await queued(store, B), *SUCCESS[:-1])
    bad = await store.advance(bad, Status.LIVE, watched=True)
    await store.record_return(bad, "too many errors")
    await _released(store, C, "sha256:c1")
    await _released(store, C, "sha256:c2")
    assert "sha256:a" in await _kept(store)


async def test_the_last_deploys_are_known_in_brief_with_how_long_they_took(store: Store) -> None:
    await live(store, A)
    failed = await queued(store, B)
    await gone(store, failed, Status.BUILDING, Status.FAILED)
    waiting = await store.queue(wanted(C, by_hand=True))
    found = (await store.in_brief(["iris", "rose"]))["iris"]
    assert [(one.number, one.status) for one in found] == [
        (1, Status.LIVE),
        (2, Status.FAILED),
        (waiting.number, Status.QUEUED),
    ]
    assert [one.seconds > 0 for one in found] == [True, True, False]
    assert [one.number for one in (await store.in_brief(["iris"], 2))["iris"]] == [2, 3]
