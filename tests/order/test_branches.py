"""A branch that is forced, deleted or made again."""

import pytest

from deployd.status import Status
from tests.order.conftest import numbers
from tests.works import Works


@pytest.mark.slow
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


@pytest.mark.slow
async def test_a_forced_push_to_an_older_commit_is_the_head_and_wins(daemon: Works) -> None:
    older, newer = daemon.commit(), daemon.commit()
    await daemon.becomes(await daemon.deployed(newer), Status.LIVE)
    daemon.move(older)
    await daemon.becomes(await daemon.deployed(older), Status.LIVE)
    await daemon.told(newer)
    assert await daemon.live() == older
    assert await numbers(daemon) == [2, 1]


@pytest.mark.slow
async def test_a_forced_push_whose_hook_was_missed_is_found_by_the_poll(daemon: Works) -> None:
    older, newer = daemon.commit(), daemon.commit()
    await daemon.told(older)
    await daemon.serves(newer)
    daemon.move(older)
    assert await daemon.polled()
    await daemon.serves(older)


@pytest.mark.slow
async def test_a_branch_that_is_gone_decides_nothing_and_the_release_stays(daemon: Works) -> None:
    first = daemon.commit()
    await daemon.becomes(await daemon.deployed(first), Status.LIVE)
    second = daemon.commit()
    daemon.delete()
    outcome = await daemon.told(second)
    assert (outcome.number, outcome.commit) == (None, None)
    assert outcome.reason == "the remote has no refs/heads/main; the live release stays"
    assert await daemon.live() == first


@pytest.mark.slow
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
