"""Older never overwrites newer, however pushes arrive: real git, a real store, the real pipeline."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from deployd.config.app import App
from deployd.delivery import Delivery, Followed, Push
from deployd.status import Status
from tests.desk import MAIN
from tests.order.conftest import numbers
from tests.works import Works, works


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


@pytest.mark.slow
async def test_a_late_delivery_of_an_older_push_does_not_overwrite_the_newer_release(daemon: Works) -> None:
    older, newer = daemon.commit(), daemon.commit()
    first = await daemon.becomes(await daemon.deployed(newer), Status.LIVE)
    late = await daemon.told(older)
    assert (late.number, late.commit) == (first.number, newer)
    assert await daemon.live() == newer
    assert older not in daemon.builder.built


@pytest.mark.slow
async def test_a_late_delivery_while_the_newer_push_is_built_lets_that_finish(daemon: Works) -> None:
    older, newer = daemon.commit(), daemon.commit()
    daemon.builder.held[newer] = asyncio.Event()
    await daemon.becomes(await daemon.deployed(newer), Status.BUILDING)
    await daemon.told(older)
    daemon.builder.held[newer].set()
    await daemon.serves(newer)
    assert await numbers(daemon) == [1]


@pytest.mark.slow
async def test_pushes_told_in_reverse_order_end_with_the_head_live(daemon: Works) -> None:
    commits = [daemon.commit() for _ in range(5)]
    for commit in reversed(commits):
        await daemon.told(commit)
    await daemon.serves(commits[-1])
    assert daemon.builder.built == {commits[-1]}


async def test_the_same_push_under_another_guid_is_deployed_once(daemon: Works) -> None:
    commit = daemon.commit()
    first, second = await daemon.told(commit), await daemon.told(commit)
    assert first.number == second.number == 1


@pytest.mark.slow
async def test_a_delivery_that_comes_again_answers_as_the_first_time(daemon: Works) -> None:
    first = await daemon.told(daemon.commit(), guid="g")
    newer = await daemon.deployed(daemon.commit())
    await daemon.becomes(newer, Status.LIVE)
    names = await daemon.scheduler.accept(Delivery("github", "g", "push"), [Followed(Push("x", MAIN, "f" * 40), ())])
    assert names == ["iris"]
    again = await daemon.answered("g")
    assert (again.number, again.commit) == (1, first.commit)
    assert await numbers(daemon) == [2, 1]


@pytest.mark.parametrize("rolled_back", [False, True])
@pytest.mark.slow
async def test_a_delivery_of_an_unknown_commit_does_not_make_the_next_push_of_the_head_a_new_deploy(
    daemon: Works, rolled_back: bool
) -> None:
    before, head = daemon.commit(), daemon.commit()
    await daemon.becomes(await daemon.scheduler.deploy("iris", before, "ada"), Status.LIVE)
    await daemon.becomes(await daemon.deployed(head), Status.LIVE)
    if rolled_back:
        await daemon.becomes(await daemon.scheduler.rollback("iris", None, "ada"), Status.LIVE)
    known = await numbers(daemon)
    unknown = await daemon.told("f" * 40)
    assert (unknown.number, unknown.reason) == (2, "the remote did not show ffffffffffff")
    assert (await daemon.told(head)).number == 2
    assert not await daemon.polled()
    assert await numbers(daemon) == known
    assert await daemon.live() == (before if rolled_back else head)


@pytest.mark.slow
async def test_a_redelivery_of_a_head_that_failed_runs_again(daemon: Works) -> None:
    commit = daemon.commit()
    daemon.builder.broken.add(commit)
    await daemon.told(commit, guid="g")
    await daemon.becomes("iris/1", Status.FAILED)
    daemon.builder.broken.clear()
    assert not await daemon.polled()
    assert (await daemon.told(commit, guid="g")).number == 2
    await daemon.serves(commit)


@pytest.mark.slow
async def test_a_redelivery_of_a_failure_that_is_not_the_head_any_more_starts_nothing(daemon: Works) -> None:
    commit = daemon.commit()
    daemon.builder.broken.add(commit)
    await daemon.told(commit, guid="g")
    await daemon.becomes("iris/1", Status.FAILED)
    await daemon.becomes(await daemon.deployed(daemon.commit()), Status.LIVE)
    assert (await daemon.told(commit, guid="g")).number == 1
    assert await numbers(daemon) == [2, 1]


@pytest.mark.slow
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


@pytest.mark.slow
async def test_a_mark_in_the_message_skips_a_head_by_whatever_way_it_is_found(daemon: Works) -> None:
    wanted = daemon.commit()
    await daemon.becomes(await daemon.deployed(wanted), Status.LIVE)
    outcome = await daemon.told(daemon.commit(subject="Write docs [skip ci]"))
    assert (outcome.number, outcome.reason) == (None, "the commit's message says [skip ci]")
    daemon.commit(subject="More docs [skip deploy]")
    assert not await daemon.polled()
    assert await daemon.live() == wanted


@pytest.mark.slow
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


@pytest.mark.slow
async def test_a_commit_that_the_remote_never_shows_ends_the_looks_and_changes_nothing(daemon: Works) -> None:
    head = daemon.commit()
    await daemon.becomes(await daemon.deployed(head), Status.LIVE)
    outcome = await daemon.told("f" * 40)
    assert (outcome.number, outcome.commit, outcome.reason) == (1, head, f"the remote did not show {'f' * 12}")
    assert await numbers(daemon) == [1]


@pytest.mark.slow
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


@pytest.mark.slow
async def test_a_failure_for_one_app_of_a_repository_does_not_hold_the_other(tmp_path: Path) -> None:
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


@pytest.mark.slow
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
