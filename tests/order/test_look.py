"""Older never overwrites newer, however pushes arrive: real git, a real store, the real pipeline."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from deployd.config.app import App
from deployd.delivery import Delivery, Push
from deployd.domain import Status
from tests.desk import MAIN
from tests.works import Works, works

PATHS = ["model", "Dockerfile"]
DOCS = {"docs/index.md": b"words"}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Works]:
    async with works(tmp_path) as made:
        yield made


@pytest.fixture
async def filtered(tmp_path: Path) -> AsyncIterator[Works]:
    """An app that wants `model` and the Dockerfile alone."""
    async with works(tmp_path, {"paths": PATHS}) as made:
        yield made


async def _numbers(daemon: Works, app: str = "iris") -> list[int]:
    return [deploy.number for deploy in await daemon.store.deploys(app)]


async def test_a_push_is_deployed_by_the_delivery_that_tells_of_it(daemon: Works) -> None:
    commit = daemon.commit(subject="Prune the tree")
    deploy = await daemon.becomes(await daemon.deployed(commit), Status.LIVE)
    assert (deploy.commit, deploy.ref, deploy.subject, deploy.author) == (commit, MAIN, "Prune the tree", "Ada")
    assert deploy.trigger.kind == "push"
    received = await daemon.store.delivery(deploy.trigger.delivery or "")
    assert received is not None
    assert [(one.app, one.number, one.commit) for one in received.outcomes] == [("iris", 1, commit)]


async def test_a_head_that_no_delivery_told_of_is_found_by_the_poll(daemon: Works) -> None:
    commit = daemon.commit()
    assert await daemon.polled()
    await daemon.serves(commit)
    (deploy,) = await daemon.store.deploys("iris")
    assert (deploy.commit, deploy.trigger.kind) == (commit, "poll")
    assert not await daemon.polled()


async def test_a_late_delivery_of_an_older_push_does_not_overwrite_the_newer_release(daemon: Works) -> None:
    older, newer = daemon.commit(), daemon.commit()
    first = await daemon.becomes(await daemon.deployed(newer), Status.LIVE)
    late = await daemon.told(older)
    assert (late.number, late.commit) == (first.number, newer)
    assert await daemon.live() == newer
    assert older not in daemon.builder.images


async def test_a_late_delivery_while_the_newer_push_is_built_lets_that_finish(daemon: Works) -> None:
    older, newer = daemon.commit(), daemon.commit()
    daemon.builder.held[newer] = asyncio.Event()
    await daemon.becomes(await daemon.deployed(newer), Status.BUILDING)
    await daemon.told(older)
    daemon.builder.held[newer].set()
    await daemon.serves(newer)
    assert await _numbers(daemon) == [1]


async def test_pushes_told_in_reverse_order_end_with_the_head_live(daemon: Works) -> None:
    commits = [daemon.commit() for _ in range(5)]
    for commit in reversed(commits):
        await daemon.told(commit)
    await daemon.serves(commits[-1])
    assert set(daemon.builder.images) == {commits[-1]}


async def test_the_same_push_under_another_guid_is_deployed_once(daemon: Works) -> None:
    commit = daemon.commit()
    first, second = await daemon.told(commit), await daemon.told(commit)
    assert first.number == second.number == 1


async def test_a_delivery_that_comes_again_answers_as_the_first_time(daemon: Works) -> None:
    first = await daemon.told(daemon.commit(), guid="g")
    newer = await daemon.deployed(daemon.commit())
    await daemon.becomes(newer, Status.LIVE)
    names = await daemon.scheduler.accept(Delivery("github", "g", "push"), Push("x", MAIN, "f" * 40), [])
    assert names == ["iris"]
    again = await daemon.answered("g")
    assert (again.number, again.commit) == (1, first.commit)
    assert await _numbers(daemon) == [2, 1]


async def test_a_redelivery_of_a_head_that_failed_runs_again(daemon: Works) -> None:
    commit = daemon.commit()
    daemon.builder.broken.add(commit)
    await daemon.told(commit, guid="g")
    await daemon.becomes("iris/1", Status.FAILED)
    daemon.builder.broken.clear()
    assert not await daemon.polled()
    assert (await daemon.told(commit, guid="g")).number == 2
    await daemon.serves(commit)


async def test_a_redelivery_of_a_failure_that_is_not_the_head_any_more_starts_nothing(daemon: Works) -> None:
    commit = daemon.commit()
    daemon.builder.broken.add(commit)
    await daemon.told(commit, guid="g")
    await daemon.becomes("iris/1", Status.FAILED)
    await daemon.becomes(await daemon.deployed(daemon.commit()), Status.LIVE)
    assert (await daemon.told(commit, guid="g")).number == 1
    assert await _numbers(daemon) == [2, 1]


async def test_a_redelivery_runs_again_only_for_the_app_that_failed(tmp_path: Path) -> None:
    async with works(tmp_path, {"name": "iris"}, {"name": "rose"}) as daemon:
        commit = daemon.commit()
        daemon.builder.held[commit] = asyncio.Event()
        await daemon.told(commit, "iris", "rose", guid="g")
        await daemon.becomes("iris/1", Status.BUILDING)
        daemon.builder.broken.add(commit)
        daemon.builder.held.pop(commit).set()
        await daemon.becomes("iris/1", Status.FAILED)
        await daemon.becomes("rose/1", Status.FAILED)
        daemon.builder.broken.clear()
        await daemon.becomes(await daemon.scheduler.deploy("rose", None, "ada"), Status.LIVE)
        await daemon.told(commit, "iris", "rose", guid="g")
        await daemon.serves(commit, "iris")
        assert await daemon.live("rose") == commit


async def test_a_push_to_docs_alone_is_skipped_with_its_reason(filtered: Works) -> None:
    wanted = filtered.commit()
    await filtered.becomes(await filtered.deployed(wanted), Status.LIVE)
    outcome = await filtered.told(filtered.commit(more=DOCS))
    assert (outcome.number, outcome.reason) == (None, "no file under paths changed (model, Dockerfile)")
    assert not await filtered.polled()
    assert await filtered.live() == wanted


async def test_a_push_to_docs_alone_is_skipped_though_no_delivery_told_of_it(filtered: Works) -> None:
    await filtered.becomes(await filtered.deployed(filtered.commit()), Status.LIVE)
    filtered.commit(more=DOCS)
    assert not await filtered.polled()


async def test_a_push_to_docs_lets_the_one_before_it_finish(filtered: Works) -> None:
    wanted = filtered.commit()
    filtered.builder.held[wanted] = asyncio.Event()
    await filtered.becomes(await filtered.deployed(wanted), Status.BUILDING)
    assert (await filtered.told(filtered.commit(more=DOCS))).number is None
    filtered.builder.held[wanted].set()
    await filtered.serves(wanted)


async def test_what_waits_is_deployed_though_a_push_to_docs_came_after_it(filtered: Works) -> None:
    await filtered.scheduler.pause("iris", paused=True)
    wanted = filtered.commit()
    await filtered.told(wanted)
    await filtered.told(filtered.commit(more=DOCS))
    await filtered.scheduler.pause("iris", paused=False)
    await filtered.serves(wanted)


async def test_a_push_to_docs_brings_the_code_push_before_it_whose_hook_was_missed(filtered: Works) -> None:
    await filtered.becomes(await filtered.deployed(filtered.commit()), Status.LIVE)
    missed, docs = filtered.commit(), filtered.commit(more=DOCS)
    await filtered.becomes(await filtered.deployed(docs), Status.LIVE)
    late = await filtered.told(missed)
    assert (late.number, late.commit) == (2, docs)


async def test_a_push_that_takes_a_missed_one_back_changes_nothing(filtered: Works) -> None:
    await filtered.becomes(await filtered.deployed(filtered.commit(model=b"1")), Status.LIVE)
    filtered.commit(model=b"2")
    assert (await filtered.told(filtered.commit(model=b"1", more=DOCS))).number is None


async def test_everything_counts_as_changed_when_the_commit_that_was_wanted_last_is_gone(filtered: Works) -> None:
    await filtered.becomes(await filtered.deployed(filtered.commit()), Status.LIVE)
    filtered.commit(more=DOCS)
    state = await filtered.store.known(["iris"])
    assert state["iris"].wanted is not None
    filtered.forget_everything_but_the_head()
    assert (await filtered.told(filtered.head())).number == 2


async def test_a_mark_in_the_message_skips_a_head_by_whatever_way_it_is_found(daemon: Works) -> None:
    wanted = daemon.commit()
    await daemon.becomes(await daemon.deployed(wanted), Status.LIVE)
    outcome = await daemon.told(daemon.commit(subject="Write docs [skip ci]"))
    assert (outcome.number, outcome.reason) == (None, "the commit's message says [skip ci]")
    daemon.commit(subject="More docs [skip deploy]")
    assert not await daemon.polled()
    assert await daemon.live() == wanted


async def test_a_branch_that_goes_back_from_a_skipped_head_is_a_new_head(daemon: Works) -> None:
    first = daemon.commit()
    await daemon.becomes(await daemon.deployed(first), Status.LIVE)
    skipped = daemon.commit(subject="Docs [skip ci]")
    await daemon.told(skipped)
    second = daemon.commit()
    await daemon.becomes(await daemon.deployed(second), Status.LIVE)
    daemon.move(first)
    assert await daemon.polled()
    await daemon.serves(first)


@pytest.mark.parametrize("late_by", [1, 2])
async def test_a_push_that_the_remote_shows_late_is_deployed(
    daemon: Works, monkeypatch: pytest.MonkeyPatch, late_by: int
) -> None:
    older = daemon.commit()
    await daemon.becomes(await daemon.deployed(older), Status.LIVE)
    newer, left = daemon.commit(), late_by
    heads = daemon.source.heads

    async def lagging(app: App) -> Mapping[str, str]:
        nonlocal left
        left -= 1
        found = await heads(app)
        return {MAIN: older} if left >= 0 else found

    async def contains(*_: object) -> bool:
        return False  # a replica that does not know the commit

    monkeypatch.setattr(daemon.source, "heads", lagging)
    monkeypatch.setattr(daemon.source, "contains", contains)
    outcome = await daemon.told(newer)
    assert (outcome.number, outcome.commit) == (2, newer)
    await daemon.serves(newer)


async def test_a_commit_that_the_remote_never_shows_ends_the_looks_and_changes_nothing(daemon: Works) -> None:
    head = daemon.commit()
    await daemon.becomes(await daemon.deployed(head), Status.LIVE)
    outcome = await daemon.told("f" * 40)
    assert (outcome.number, outcome.commit, outcome.reason) == (1, head, f"the remote did not show {'f' * 12}")
    assert await _numbers(daemon) == [1]


async def test_a_late_delivery_does_not_undo_what_a_person_chose(daemon: Works) -> None:
    late, good, bad = daemon.commit(), daemon.commit(), daemon.commit()
    await daemon.becomes(await daemon.deployed(bad), Status.LIVE)
    await daemon.becomes(await daemon.scheduler.deploy("iris", good, "ada"), Status.LIVE)
    for commit in (late, good, bad):
        await daemon.told(commit)
    assert await daemon.live() == good
    assert not await daemon.polled()


async def test_a_late_delivery_in_mid_deploy_does_not_undo_what_a_person_chose(daemon: Works) -> None:
    late, good, bad = daemon.commit(), daemon.commit(), daemon.commit()
    await daemon.becomes(await daemon.deployed(bad), Status.LIVE)
    daemon.builder.held[good] = asyncio.Event()
    chosen = await daemon.scheduler.deploy("iris", good, "ada")
    await daemon.becomes(chosen, Status.BUILDING)
    await daemon.told(late)
    daemon.builder.held[good].set()
    await daemon.becomes(chosen, Status.LIVE)


async def test_late_deliveries_do_not_undo_a_rollback_that_waits(daemon: Works) -> None:
    late, good, bad = daemon.commit(), daemon.commit(), daemon.commit()
    await daemon.becomes(await daemon.deployed(bad), Status.LIVE)
    await daemon.becomes(await daemon.scheduler.deploy("iris", good, "ada"), Status.LIVE)
    await daemon.becomes(await daemon.scheduler.deploy("iris", bad, "ada"), Status.LIVE)
    await daemon.scheduler.pause("iris", paused=True)
    rollback = await daemon.scheduler.rollback("iris", None, "ada")
    await daemon.told(late)
    await daemon.told(bad)
    await daemon.scheduler.pause("iris", paused=False)
    await daemon.becomes(rollback, Status.LIVE)
    assert await daemon.live() == good
    assert not await daemon.polled()


async def test_a_branch_that_is_gone_does_not_undo_what_a_person_chose(daemon: Works) -> None:
    good, late = daemon.commit(), daemon.commit()
    await daemon.told(late)
    await daemon.serves(late)
    await daemon.becomes(await daemon.scheduler.deploy("iris", good, "ada"), Status.LIVE)
    daemon.delete()
    outcome = await daemon.told(late)
    assert outcome.number is None
    assert await daemon.live() == good


async def test_a_newer_push_wins_over_what_a_person_chose_before(daemon: Works) -> None:
    late, good = daemon.commit(), daemon.commit()
    await daemon.scheduler.pause("iris", paused=True)
    chosen = await daemon.scheduler.deploy("iris", good, "ada")
    head = daemon.commit()
    await daemon.told(head)
    await daemon.told(late)
    await daemon.scheduler.pause("iris", paused=False)
    await daemon.serves(head)
    await daemon.becomes(chosen, Status.SUPERSEDED)
    assert set(daemon.builder.images) == {head}


async def test_a_head_that_waited_when_a_person_chose_another_is_not_deployed_later(daemon: Works) -> None:
    good = daemon.commit()
    await daemon.becomes(await daemon.deployed(good), Status.LIVE)
    await daemon.scheduler.pause("iris", paused=True)
    await daemon.told(daemon.commit())
    await daemon.scheduler.deploy("iris", good, "ada")
    await daemon.scheduler.pause("iris", paused=False)
    await daemon.serves(good)
    assert not await daemon.polled()
    newest = daemon.commit()
    assert await daemon.polled()
    await daemon.serves(newest)


async def test_a_branch_that_goes_back_to_a_former_release_wins_over_what_a_person_chose_before(daemon: Works) -> None:
    former, good, head = daemon.commit(), daemon.commit(), daemon.commit()
    daemon.move(former)
    await daemon.becomes(await daemon.deployed(former), Status.LIVE)
    daemon.move(head)
    await daemon.becomes(await daemon.deployed(head), Status.LIVE)
    await daemon.becomes(await daemon.scheduler.deploy("iris", good, "ada"), Status.LIVE)
    daemon.move(former)
    assert await daemon.polled()
    await daemon.serves(former)


async def test_a_head_that_was_cancelled_is_left_alone(daemon: Works) -> None:
    late, head = daemon.commit(), daemon.commit()
    daemon.builder.held[head] = asyncio.Event()
    deploy = await daemon.deployed(head)
    await daemon.becomes(deploy, Status.BUILDING)
    await daemon.scheduler.cancel("iris", deploy.number)
    await daemon.becomes(deploy, Status.CANCELLED)
    await daemon.told(late)
    await daemon.told(head)
    assert not await daemon.polled()
    assert await daemon.live() is None


async def test_a_head_that_was_cancelled_while_it_waited_is_left_alone(daemon: Works) -> None:
    await daemon.scheduler.pause("iris", paused=True)
    deploy = await daemon.deployed(daemon.commit())
    await daemon.scheduler.cancel("iris", deploy.number)
    await daemon.scheduler.pause("iris", paused=False)
    assert not await daemon.polled()


async def test_a_head_that_failed_is_left_alone_and_the_app_is_held(daemon: Works) -> None:
    good = daemon.commit()
    await daemon.becomes(await daemon.deployed(good), Status.LIVE)
    bad = daemon.commit()
    daemon.builder.broken.add(bad)
    await daemon.becomes(await daemon.deployed(bad), Status.FAILED)
    await daemon.told(bad)
    assert not await daemon.polled()
    state = await daemon.store.state("iris")
    assert (state.held_commit, state.held_reason) == (bad, "iris/2 failed: the command returned 1")


async def test_a_head_that_was_deployed_by_hand_is_not_deployed_again(daemon: Works) -> None:
    head = daemon.commit()
    deploy = await daemon.scheduler.deploy("iris", None, "ada")
    await daemon.becomes(deploy, Status.LIVE)
    assert (await daemon.told(head)).number == deploy.number
    assert not await daemon.polled()
    assert (await daemon.store.state("iris")).held_commit is None


async def test_a_forced_push_to_an_older_commit_is_the_head_and_wins(daemon: Works) -> None:
    older, newer = daemon.commit(), daemon.commit()
    await daemon.becomes(await daemon.deployed(newer), Status.LIVE)
    daemon.move(older)
    await daemon.becomes(await daemon.deployed(older), Status.LIVE)
    await daemon.told(newer)
    assert await daemon.live() == older
    assert await _numbers(daemon) == [2, 1]


async def test_a_forced_push_whose_hook_was_missed_is_found_by_the_poll(daemon: Works) -> None:
    older, newer = daemon.commit(), daemon.commit()
    await daemon.told(older)
    await daemon.serves(newer)
    daemon.move(older)
    assert await daemon.polled()
    await daemon.serves(older)


async def test_a_branch_that_is_gone_decides_nothing_and_the_release_stays(daemon: Works) -> None:
    first = daemon.commit()
    await daemon.becomes(await daemon.deployed(first), Status.LIVE)
    second = daemon.commit()
    daemon.delete()
    outcome = await daemon.told(second)
    assert (outcome.number, outcome.commit) == (None, None)
    assert outcome.reason == "the remote has no refs/heads/main; the live release stays"
    assert await daemon.live() == first


@pytest.mark.parametrize("hook", [True, False], ids=["told", "missed"])
async def test_a_branch_that_is_made_again_at_a_commit_that_was_never_seen_is_deployed(
    daemon: Works, hook: bool
) -> None:
    await daemon.becomes(await daemon.deployed(daemon.commit()), Status.LIVE)
    second = daemon.commit()
    daemon.delete()
    await daemon.told("0" * 40)
    daemon.move(second)
    if hook:
        await daemon.told(second)
    else:
        assert await daemon.polled()
    await daemon.serves(second)


async def test_a_branch_that_is_made_again_is_a_new_head_though_its_commit_failed_before(daemon: Works) -> None:
    bad = daemon.commit()
    daemon.builder.broken.add(bad)
    await daemon.becomes(await daemon.deployed(bad), Status.FAILED)
    daemon.builder.broken.clear()
    daemon.delete()
    assert not await daemon.polled()
    daemon.move(bad)
    assert await daemon.polled()
    await daemon.serves(bad)


async def test_a_branch_that_is_made_again_at_the_commit_that_serves_changes_nothing(daemon: Works) -> None:
    commit = daemon.commit()
    await daemon.becomes(await daemon.deployed(commit), Status.LIVE)
    daemon.delete()
    assert not await daemon.polled()
    daemon.move(commit)
    assert not await daemon.polled()


async def test_a_commit_asked_for_by_hand_stays_until_the_branch_moves(daemon: Works) -> None:
    older, newer = daemon.commit(), daemon.commit()
    await daemon.becomes(await daemon.deployed(newer), Status.LIVE)
    await daemon.becomes(await daemon.scheduler.deploy("iris", older, "ada"), Status.LIVE)
    assert not await daemon.polled()
    state = await daemon.store.state("iris")
    assert (state.held_commit, state.held_reason) == (newer, "deployed by hand by ada")
    newest = daemon.commit()
    await daemon.told(newest)
    await daemon.serves(newest)


async def test_two_apps_on_one_repository_each_follow_their_own_branch(tmp_path: Path) -> None:
    async with works(tmp_path, {"name": "iris"}, {"name": "next", "branch": "next"}, {"name": "rose"}) as daemon:
        main, following = daemon.commit(), daemon.commit("next")
        await daemon.told(main, "iris", "rose")
        await daemon.told(following, "next", ref="refs/heads/next")
        await daemon.serves(main, "iris")
        await daemon.serves(main, "rose")
        await daemon.serves(following, "next")
        newer = daemon.commit()
        await daemon.told(newer, "iris", "rose")
        await daemon.told(main, "iris", "rose")
        await daemon.serves(newer, "iris")
        await daemon.serves(newer, "rose")
        assert await daemon.live("next") == following


async def test_what_fails_for_one_app_of_a_repository_does_not_hold_the_other(tmp_path: Path) -> None:
    async with works(tmp_path, {"name": "iris"}, {"name": "rose"}) as daemon:
        commit = daemon.commit()
        daemon.builder.broken.add(commit)
        await daemon.told(commit, "iris", "rose")
        await daemon.becomes("iris/1", Status.FAILED)
        await daemon.becomes("rose/1", Status.FAILED)
        better = daemon.commit()
        daemon.builder.held[better] = asyncio.Event()
        await daemon.told(better, "iris", "rose")
        await daemon.becomes("iris/2", Status.BUILDING)
        daemon.builder.held[better].set()
        await daemon.serves(better, "rose")


async def test_one_look_asks_the_remote_once_for_all_apps_of_its_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with works(tmp_path, {"name": "iris"}, {"name": "rose"}, {"name": "next", "branch": "next"}) as daemon:
        asked = 0
        ask = daemon.source._refs._ask

        async def counted(*arguments: object) -> Mapping[str, str]:
            nonlocal asked
            asked += 1
            return await ask(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(daemon.source._refs, "_ask", counted)
        await daemon.polled()
        assert asked == 1


@pytest.fixture
async def tagged(tmp_path: Path) -> AsyncIterator[Works]:
    async with works(tmp_path, {"tag": "v*"}) as made:
        yield made


def _tag(daemon: Works, name: str, *, annotated: bool = False) -> tuple[str, str]:
    """A tag on a new commit; the commit and the tag's ref."""
    commit = daemon.commit()
    daemon.repository.git("tag", "--force", *(("-a", "-m", name) if annotated else ()), name, commit)
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
    await tagged.becomes(await tagged.deployed(higher, ref=higher_ref), Status.LIVE)
    await tagged.told(lower, ref=lower_ref)
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


async def test_a_tag_that_is_gone_leaves_what_runs_until_a_higher_one_comes(tagged: Works) -> None:
    (lower, lower_ref), (higher, higher_ref) = _tag(tagged, "v1.9"), _tag(tagged, "v1.10")
    await tagged.told(higher, ref=higher_ref)
    await tagged.serves(higher)
    tagged.repository.git("tag", "-d", "v1.10")
    outcome = await tagged.told(lower, ref=lower_ref)
    assert outcome.reason == "refs/tags/v1.9 is a lower version than refs/tags/v1.10, which was wanted last"
    assert await tagged.live() == higher
    again, ref = _tag(tagged, "v1.10")
    await tagged.told(again, ref=ref)
    await tagged.serves(again)


async def test_a_release_comes_after_its_candidates(tagged: Works) -> None:
    for name in ("v2.0rc1", "v2.0-rc.2", "v2.0"):
        commit, ref = _tag(tagged, name)
        await tagged.told(commit, ref=ref)
        await tagged.serves(commit)


async def test_a_tag_that_is_no_version_is_not_deployed_and_that_is_said(tagged: Works) -> None:
    commit, ref = _tag(tagged, "vnext")
    outcome = await tagged.told(commit, ref=ref)
    assert outcome.number is None
    assert "no ref that matches refs/tags/v* is a version: refs/tags/vnext" in outcome.reason


async def test_a_tag_that_an_app_names_whole_need_not_be_a_version(tmp_path: Path) -> None:
    async with works(tmp_path, {"tag": "production"}) as daemon:
        for _ in range(2):
            commit, ref = _tag(daemon, "production")
            await daemon.told(commit, ref=ref)
            await daemon.serves(commit)


async def test_order_does_not_depend_on_the_clock(daemon: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([2_000_000_000.0, 1_000_000_000.0, 3_000_000_000.0, 0.0] * 1000)
    monkeypatch.setattr("deployd.store.deploys.time.time", lambda: next(times))
    for _ in range(4):
        commit = daemon.commit()
        await daemon.told(commit)
        await daemon.serves(commit)
    history = await daemon.store.deploys("iris")
    assert [deploy.number for deploy in history] == [4, 3, 2, 1]
    assert [deploy.status for deploy in history] == [Status.LIVE, *[Status.RETIRED] * 3]
    await daemon.scheduler.pause("iris", paused=True)
    older, newer = await daemon.deployed(daemon.commit()), await daemon.deployed(daemon.commit())
    await daemon.scheduler.pause("iris", paused=False)
    await daemon.becomes(newer, Status.LIVE)
    assert (await daemon.becomes(older, Status.SUPERSEDED)).superseded_by == newer.number
