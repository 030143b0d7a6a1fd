"""The commits of pull requests in the store: each is proven once, and the newest of a pull request is enough."""

from deployd.goal import Trigger, Wanted
from deployd.status import Status
from deployd.store.store import Store

A, B = "a" * 40, "b" * 40


def wanted(commit: str, app: str = "iris", number: int = 7) -> Wanted:
    ref = f"refs/pull/{number}/head"
    return Wanted(app, commit, ref, Trigger("push", delivery="g"), "A deeper tree", "ada", prove=True)


async def test_a_commit_is_queued_for_each_app_and_only_to_be_proven(store: Store) -> None:
    made = await store.propose([wanted(A), wanted(A, "rose")])
    assert [(one.name, one.prove, one.ref, one.status) for one in made] == [
        ("iris/1", True, "refs/pull/7/head", Status.QUEUED),
        ("rose/1", True, "refs/pull/7/head", Status.QUEUED),
    ]
    assert await store.deploy("iris", 1) == made[0]
    assert (await store.state("iris")).at_rest


async def test_a_commit_that_waits_is_under_way_or_is_proven_is_not_queued_again(store: Store) -> None:
    (deploy,) = await store.propose([wanted(A)])
    assert await store.propose([wanted(A)]) == []
    for status in (Status.BUILDING, Status.CHECKING, Status.PROVEN):
        deploy = await store.advance(deploy, status)
        assert await store.propose([wanted(A), wanted(A, number=8)]) == []


async def test_a_commit_that_failed_is_proven_again(store: Store) -> None:
    (deploy,) = await store.propose([wanted(A)])
    await store.advance(await store.advance(deploy, Status.BUILDING), Status.FAILED, reason="no")
    (again,) = await store.propose([wanted(A)])
    assert again.number == 2


async def test_a_newer_commit_of_a_pull_request_supersedes_the_one_that_waits(store: Store) -> None:
    (older,) = await store.propose([wanted(A)])
    (other,) = await store.propose([wanted("c" * 40, number=8)])
    (newer,) = await store.propose([wanted(B)])
    gone = await store.deploy("iris", older.number)
    assert gone is not None
    assert (gone.status, gone.superseded_by) == (Status.SUPERSEDED, newer.number)
    assert gone.reason == f"the pull request shows a newer commit: {newer.name}"
    assert (await store.take_newest("iris") or newer).number == other.number


async def test_a_newer_commit_lets_the_one_under_way_end(store: Store) -> None:
    (older,) = await store.propose([wanted(A)])
    await store.advance(older, Status.BUILDING)
    await store.propose([wanted(B)])
    still = await store.deploy("iris", older.number)
    assert still is not None
    assert still.status is Status.BUILDING


async def test_a_commit_that_is_deployed_is_proven_all_the_same(store: Store) -> None:
    await store.queue(Wanted("iris", A, "refs/heads/main", Trigger("manual", by="ada")))
    assert len(await store.propose([wanted(A)])) == 1
