"""Older never overwrites newer, however pushes arrive: real git, a real store, the real pipeline."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from deployd.config.app import App
from deployd.domain import Delivery, Status, Trigger, Wanted
from tests.desk import MAIN
from tests.works import Works, works


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Works]:
    async with works(tmp_path) as made:
        yield made


async def test_a_late_delivery_of_an_older_push_does_not_overwrite_the_newer_release(shop: Works) -> None:
    older, newer = shop.commit(), shop.commit()
    first = await shop.told(newer)
    await shop.becomes(first, Status.LIVE)
    late = await shop.becomes(await shop.told(older), Status.SUPERSEDED)
    assert (late.superseded_by, late.reason) == (first.number, f"{MAIN} is at {newer[:12]}: {first.name}")
    assert await shop.live() == newer
    assert older not in shop.builder.images


async def test_a_late_delivery_while_the_newer_push_is_built_ends_with_the_newer_one_live(shop: Works) -> None:
    older, newer = shop.commit(), shop.commit()
    shop.builder.held[newer] = asyncio.Event()
    first = await shop.told(newer)
    await shop.becomes(first, Status.BUILDING)
    late = await shop.told(older)
    shop.builder.held[newer].set()
    await shop.serves(newer)
    await shop.becomes(late, Status.SUPERSEDED)
    assert older not in shop.builder.images


async def test_pushes_told_in_reverse_order_end_with_the_head_live(shop: Works) -> None:
    commits = [shop.commit() for _ in range(5)]
    for commit in reversed(commits):
        await shop.told(commit)
    await shop.serves(commits[-1])
    assert set(shop.builder.images) == {commits[-1]}


async def test_a_late_delivery_does_not_overwrite_the_release_on_which_a_declined_head_stands(shop: Works) -> None:
    older, newer = shop.commit(), shop.commit()
    first = await shop.told(newer)
    await shop.becomes(first, Status.LIVE)
    docs, more_docs = shop.commit(), shop.commit()
    assert await shop.told_in_vain(docs, newer) is None
    assert await shop.told_in_vain(more_docs, docs) is None
    late = await shop.becomes(await shop.told(older), Status.SUPERSEDED)
    assert late.superseded_by == first.number
    assert await shop.live() == newer
    assert not await shop.polled()


async def test_a_push_that_is_declined_lets_the_one_before_it_finish(shop: Works) -> None:
    wanted = shop.commit()
    shop.builder.held[wanted] = asyncio.Event()
    await shop.becomes(await shop.told(wanted), Status.BUILDING)
    assert await shop.told_in_vain(shop.commit(), wanted) is None
    shop.builder.held[wanted].set()
    await shop.serves(wanted)
    assert not await shop.polled()


async def test_what_waits_is_deployed_though_a_declined_push_came_after_it(shop: Works) -> None:
    await shop.scheduler.pause("iris", paused=True)
    wanted = shop.commit()
    await shop.told(wanted)
    assert await shop.told_in_vain(shop.commit(), wanted) is None
    assert not await shop.polled()
    await shop.scheduler.pause("iris", paused=False)
    await shop.serves(wanted)


async def test_a_push_whose_hook_was_missed_comes_with_the_declined_one_that_stands_on_it(shop: Works) -> None:
    first = shop.commit()
    await shop.told(first)
    await shop.serves(first)
    missed, docs = shop.commit(), shop.commit()
    assert await shop.told_in_vain(docs, missed) is not None
    await shop.serves(docs)
    late = await shop.becomes(await shop.told(missed), Status.SUPERSEDED)
    assert late.superseded_by == 2
    assert not await shop.polled()


async def test_a_declined_head_of_long_ago_is_forgotten_when_a_wanted_one_comes(shop: Works) -> None:
    first = shop.commit()
    await shop.told(first)
    await shop.serves(first)
    docs = shop.commit()
    await shop.told_in_vain(docs, first)
    second = shop.commit()
    await shop.told(second)
    await shop.serves(second)
    shop.repository.git("update-ref", "refs/heads/main", docs)
    assert await shop.polled()
    await shop.serves(docs)


@pytest.mark.parametrize("built", [True, False], ids=["which serves", "which was never begun"])
async def test_a_push_that_the_remote_shows_a_moment_late_is_deployed_and_not_the_one_before(
    shop: Works, monkeypatch: pytest.MonkeyPatch, built: bool
) -> None:
    if not built:
        await shop.scheduler.pause("iris", paused=True)
    older = shop.commit()
    await shop.told(older)
    if built:
        await shop.serves(older)
    newer, asked = shop.commit(), asyncio.Event()
    heads = shop.source.heads

    async def lagging(app: App) -> Mapping[str, str]:
        found = await heads(app)
        if asked.is_set():
            return found
        asked.set()
        return {MAIN: older}

    monkeypatch.setattr(shop.source, "heads", lagging)
    deploy = await shop.told(newer)
    await shop.scheduler.pause("iris", paused=False)
    await shop.becomes(deploy, Status.LIVE)
    assert (await shop.store.deploys("iris", 1))[0].number == deploy.number


async def test_a_late_delivery_does_not_undo_what_a_person_chose(shop: Works) -> None:
    late, good, bad = shop.commit(), shop.commit(), shop.commit()
    await shop.becomes(await shop.told(bad), Status.LIVE)
    await shop.becomes(await shop.scheduler.deploy("iris", good, "ada"), Status.LIVE)
    await shop.becomes(await shop.told(late), Status.SUPERSEDED)
    await shop.serves(good)
    assert not await shop.polled()


async def test_a_late_delivery_in_mid_deploy_does_not_undo_what_a_person_chose(shop: Works) -> None:
    late, good, bad = shop.commit(), shop.commit(), shop.commit()
    await shop.becomes(await shop.told(bad), Status.LIVE)
    shop.builder.held[good] = asyncio.Event()
    chosen = await shop.scheduler.deploy("iris", good, "ada")
    await shop.becomes(chosen, Status.BUILDING)
    stale = await shop.told(late)
    shop.builder.held[good].set()
    await shop.becomes(chosen, Status.SUPERSEDED)
    await shop.becomes(stale, Status.SUPERSEDED)
    await shop.serves(good)
    assert not await shop.polled()


async def test_late_deliveries_do_not_undo_a_rollback_that_waits(shop: Works) -> None:
    late, good, bad = shop.commit(), shop.commit(), shop.commit()
    await shop.becomes(await shop.told(good), Status.SUPERSEDED, Status.LIVE)
    await shop.becomes(await shop.scheduler.deploy("iris", good, "ada"), Status.LIVE)
    await shop.becomes(await shop.scheduler.deploy("iris", bad, "ada"), Status.LIVE)
    await shop.scheduler.pause("iris", paused=True)
    await shop.scheduler.rollback("iris", None, "ada")
    await shop.told(late)
    await shop.told(late)
    await shop.scheduler.pause("iris", paused=False)
    await shop.serves(good)
    live = (await shop.store.state("iris")).live
    assert live is not None
    assert (live.trigger.kind, live.trigger.by) == ("rollback", "ada")
    assert not await shop.polled()


async def test_a_late_delivery_of_a_branch_that_is_gone_does_not_undo_what_a_person_chose(shop: Works) -> None:
    late, good = shop.commit(), shop.commit()
    await shop.scheduler.pause("iris", paused=True)
    await shop.scheduler.deploy("iris", good, "ada")
    await shop.told(late)
    shop.repository.git("update-ref", "-d", "refs/heads/main")
    await shop.scheduler.pause("iris", paused=False)
    await shop.serves(good)


async def test_a_newer_push_overrides_what_a_person_chose_though_a_late_delivery_follows(shop: Works) -> None:
    late, good = shop.commit(), shop.commit()
    await shop.scheduler.pause("iris", paused=True)
    chosen = await shop.scheduler.deploy("iris", good, "ada")
    head = shop.commit()
    await shop.told(head)
    await shop.told(late)
    await shop.scheduler.pause("iris", paused=False)
    await shop.serves(head)
    await shop.becomes(chosen, Status.SUPERSEDED)
    assert set(shop.builder.images) == {head}


async def test_a_head_that_waited_when_a_person_chose_another_is_not_brought_back_by_the_poll(shop: Works) -> None:
    good = shop.commit()
    await shop.becomes(await shop.told(good), Status.LIVE)
    await shop.scheduler.pause("iris", paused=True)
    await shop.told(shop.commit())
    await shop.scheduler.deploy("iris", good, "ada")
    assert not await shop.polled()
    await shop.scheduler.pause("iris", paused=False)
    await shop.serves(good)
    assert not await shop.polled()
    newest = shop.commit()
    assert await shop.polled()
    await shop.serves(newest)


async def test_a_branch_that_goes_back_to_a_former_release_wins_over_what_a_person_chose_before(shop: Works) -> None:
    former, good, head = shop.commit(), shop.commit(), shop.commit()
    shop.repository.git("update-ref", "refs/heads/main", former)
    await shop.becomes(await shop.told(former), Status.LIVE)
    shop.repository.git("update-ref", "refs/heads/main", head)
    await shop.becomes(await shop.told(head), Status.LIVE)
    await shop.becomes(await shop.scheduler.deploy("iris", good, "ada"), Status.LIVE)
    shop.repository.git("update-ref", "refs/heads/main", former)
    assert await shop.polled()
    await shop.serves(former)


async def test_a_declined_push_that_is_told_again_long_after_starts_nothing(shop: Works) -> None:
    first = shop.commit()
    await shop.becomes(await shop.told(first), Status.LIVE)
    docs = shop.commit()
    declined = [Wanted("iris", docs, MAIN, Trigger("push", "guid"), before=first, declined=True)]
    delivery = Delivery("github", "guid", "push")
    assert await shop.scheduler.accept(delivery, declined) == ([], [])
    second, third = shop.commit(), shop.commit()
    for commit in (second, third):
        await shop.becomes(await shop.told(commit), Status.SUPERSEDED, Status.LIVE)
    await shop.serves(third)
    assert await shop.scheduler.accept(delivery, declined) == ([], [])


async def test_a_late_delivery_does_not_bring_back_a_head_that_was_cancelled(shop: Works) -> None:
    late, head = shop.commit(), shop.commit()
    shop.builder.held[head] = asyncio.Event()
    deploy = await shop.told(head)
    await shop.becomes(deploy, Status.BUILDING)
    await shop.scheduler.cancel("iris", deploy.number)
    await shop.becomes(deploy, Status.CANCELLED)
    await shop.becomes(await shop.told(late), Status.SUPERSEDED)
    assert not await shop.polled()
    assert await shop.live() is None


async def test_a_head_that_was_cancelled_while_it_waited_is_left_alone(shop: Works) -> None:
    await shop.scheduler.pause("iris", paused=True)
    deploy = await shop.told(shop.commit())
    await shop.scheduler.cancel("iris", deploy.number)
    await shop.scheduler.pause("iris", paused=False)
    assert not await shop.polled()


async def test_a_head_that_was_deployed_by_hand_is_not_deployed_again_by_the_poll(shop: Works) -> None:
    head = shop.commit()
    deploy = await shop.scheduler.deploy("iris", None, "ada")
    await shop.becomes(deploy, Status.LIVE)
    assert (await shop.told(head)).number == deploy.number
    assert not await shop.polled()
    assert (await shop.store.state("iris")).held_commit is None


async def test_a_forced_push_to_an_older_commit_is_the_head_and_wins(shop: Works) -> None:
    older, newer = shop.commit(), shop.commit()
    await shop.becomes(await shop.told(newer), Status.LIVE)
    shop.repository.git("update-ref", "refs/heads/main", older)
    await shop.becomes(await shop.told(older), Status.LIVE)
    late = await shop.becomes(await shop.told(newer), Status.SUPERSEDED)
    assert late.superseded_by == 2
    assert await shop.live() == older


async def test_a_forced_push_whose_hook_was_missed_is_found_by_the_poll(shop: Works) -> None:
    older, newer = shop.commit(), shop.commit()
    await shop.becomes(await shop.told(older), Status.SUPERSEDED, Status.LIVE)
    await shop.serves(newer)
    shop.repository.git("update-ref", "refs/heads/main", older)
    assert await shop.polled()
    await shop.serves(older)


async def test_a_push_whose_branch_is_gone_is_cancelled_and_the_release_stays(shop: Works) -> None:
    first = shop.commit()
    await shop.becomes(await shop.told(first), Status.LIVE)
    second = shop.commit()
    shop.repository.git("update-ref", "-d", "refs/heads/main")
    gone = await shop.becomes(await shop.told(second), Status.CANCELLED)
    assert gone.reason == "refs/heads/main is gone from the remote"
    assert await shop.live() == first


@pytest.mark.parametrize("hook", [True, False], ids=["told", "missed"])
async def test_a_branch_that_is_made_again_at_the_same_commit_is_deployed(shop: Works, hook: bool) -> None:
    await shop.becomes(await shop.told(shop.commit()), Status.LIVE)
    second = shop.commit()
    shop.repository.git("update-ref", "-d", "refs/heads/main")
    await shop.becomes(await shop.told(second), Status.CANCELLED)
    shop.repository.git("update-ref", "refs/heads/main", second)
    if hook:
        await shop.told(second)
    else:
        assert await shop.polled()
    await shop.serves(second)


async def test_a_branch_that_is_made_again_at_another_commit_is_deployed(shop: Works) -> None:
    first = shop.commit()
    await shop.becomes(await shop.told(first), Status.LIVE)
    await shop.becomes(await shop.told(shop.commit()), Status.LIVE)
    shop.repository.git("update-ref", "-d", "refs/heads/main")
    assert not await shop.polled()
    shop.repository.git("update-ref", "refs/heads/main", first)
    assert await shop.polled()
    await shop.serves(first)


async def test_a_commit_asked_for_by_hand_stays_until_the_branch_moves(shop: Works) -> None:
    older, newer = shop.commit(), shop.commit()
    await shop.becomes(await shop.told(newer), Status.LIVE)
    await shop.becomes(await shop.scheduler.deploy("iris", older, "ada"), Status.LIVE)
    assert not await shop.polled()
    assert await shop.live() == older
    newest = shop.commit()
    await shop.told(newest)
    await shop.serves(newest)


async def test_two_apps_on_one_repository_each_follow_their_own_branch(tmp_path: Path) -> None:
    async with works(tmp_path, {"name": "iris"}, {"name": "next", "branch": "next"}, {"name": "rose"}) as shop:
        main, following = shop.commit(), shop.commit("next")
        await shop.told(main, "iris", "rose")
        await shop.told(following, "next", ref="refs/heads/next")
        await shop.serves(main, "iris")
        await shop.serves(main, "rose")
        await shop.serves(following, "next")
        newer = shop.commit()
        await shop.told(newer, "iris", "rose")
        late = await shop.told(main, "iris", "rose")
        await shop.serves(newer, "iris")
        await shop.serves(newer, "rose")
        await shop.becomes(late, Status.SUPERSEDED)
        assert await shop.live("next") == following


async def test_what_fails_for_one_app_of_a_repository_does_not_hold_the_other(tmp_path: Path) -> None:
    async with works(tmp_path, {"name": "iris"}, {"name": "rose"}) as shop:
        commit = shop.commit()
        shop.builder.broken.add(commit)
        await shop.becomes(await shop.told(commit, "iris", "rose"), Status.FAILED)
        await shop.becomes("rose/1", Status.FAILED)
        better = shop.commit()
        shop.builder.held[better] = asyncio.Event()
        await shop.told(better, "iris")
        await shop.becomes("iris/2", Status.BUILDING)
        newest = shop.commit()
        await shop.told(newest, "rose")
        shop.builder.held[better].set()
        await shop.serves(newest, "rose")


@pytest.fixture
async def tagged(tmp_path: Path) -> AsyncIterator[Works]:
    async with works(tmp_path, {"tag": "v*"}) as made:
        yield made


def _tag(shop: Works, name: str, *, annotated: bool = False) -> tuple[str, str]:
    """A tag on a new commit; the commit and the tag's ref."""
    commit = shop.commit()
    shop.repository.git("tag", "--force", *(("-a", "-m", name) if annotated else ()), name, commit)
    return commit, f"refs/tags/{name}"


@pytest.mark.parametrize("annotated", [True, False], ids=["annotated", "plain"])
async def test_a_tag_is_deployed_and_a_higher_one_after_it(tagged: Works, annotated: bool) -> None:
    for name in ("v1.9", "v1.10"):
        commit, ref = _tag(tagged, name, annotated=annotated)
        await tagged.told(commit, ref=ref)
        await tagged.serves(commit)
        assert not await tagged.polled()


async def test_a_late_delivery_of_a_lower_tag_does_not_overwrite_the_higher_one(tagged: Works) -> None:
    (lower, lower_ref), (higher, higher_ref) = _tag(tagged, "v1.9"), _tag(tagged, "v1.10")
    first = await tagged.told(higher, ref=higher_ref)
    await tagged.becomes(first, Status.LIVE)
    late = await tagged.becomes(await tagged.told(lower, ref=lower_ref), Status.SUPERSEDED)
    assert late.superseded_by == first.number
    assert await tagged.live() == higher
    assert not await tagged.polled()


async def test_a_lower_tag_that_is_told_alone_brings_the_highest_one(tagged: Works) -> None:
    (lower, lower_ref), (higher, higher_ref) = _tag(tagged, "v1.9"), _tag(tagged, "v1.10")
    await tagged.told(lower, ref=lower_ref)
    await tagged.serves(higher)
    live = (await tagged.store.state("iris")).live
    assert live is not None
    assert live.ref == higher_ref


async def test_a_tag_that_is_moved_is_deployed_anew(tagged: Works) -> None:
    commit, ref = _tag(tagged, "v1.9")
    await tagged.told(commit, ref=ref)
    await tagged.serves(commit)
    moved, _ = _tag(tagged, "v1.9")
    await tagged.told(moved, ref=ref)
    await tagged.serves(moved)


async def test_a_tag_that_is_gone_leaves_the_release_and_the_highest_one_left_is_wanted(tagged: Works) -> None:
    (lower, lower_ref), (higher, higher_ref) = _tag(tagged, "v1.9"), _tag(tagged, "v1.10")
    await tagged.told(higher, ref=higher_ref)
    await tagged.serves(higher)
    tagged.repository.git("tag", "-d", "v1.10")
    assert await tagged.live() == higher
    await tagged.told(lower, ref=lower_ref)
    await tagged.serves(lower)


async def test_order_does_not_depend_on_the_clock(shop: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([2_000_000_000.0, 1_000_000_000.0, 3_000_000_000.0, 0.0] * 1000)
    monkeypatch.setattr("deployd.store.store.time.time", lambda: next(times))
    for _ in range(4):
        commit = shop.commit()
        await shop.told(commit)
        await shop.serves(commit)
    history = await shop.store.deploys("iris")
    assert [deploy.number for deploy in history] == [4, 3, 2, 1]
    assert [deploy.status for deploy in history] == [Status.LIVE, *[Status.RETIRED] * 3]
    await shop.scheduler.pause("iris", paused=True)
    older, newer = await shop.told(shop.commit()), await shop.told(shop.commit())
    await shop.scheduler.pause("iris", paused=False)
    await shop.becomes(newer, Status.LIVE)
    assert (await shop.becomes(older, Status.SUPERSEDED)).superseded_by == newer.number
