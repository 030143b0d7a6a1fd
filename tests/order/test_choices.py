"""What a person chose, cancelled or saw fail stays so until the branch moves."""

import asyncio

import pytest

from deployd.status import Status
from tests.works import Works


@pytest.mark.slow
async def test_a_late_delivery_does_not_undo_what_a_person_chose(daemon: Works) -> None:
    late, good, bad = daemon.commit(), daemon.commit(), daemon.commit()
    await daemon.becomes(await daemon.deployed(bad), Status.LIVE)
    await daemon.becomes(await daemon.scheduler.deploy("iris", good, "ada"), Status.LIVE)
    for commit in (late, good, bad):
        await daemon.told(commit)
    assert await daemon.live() == good
    assert not await daemon.polled()


@pytest.mark.slow
async def test_a_late_delivery_in_mid_deploy_does_not_undo_what_a_person_chose(daemon: Works) -> None:
    late, good, bad = daemon.commit(), daemon.commit(), daemon.commit()
    await daemon.becomes(await daemon.deployed(bad), Status.LIVE)
    daemon.builder.held[good] = asyncio.Event()
    chosen = await daemon.scheduler.deploy("iris", good, "ada")
    await daemon.becomes(chosen, Status.BUILDING)
    await daemon.told(late)
    daemon.builder.held[good].set()
    await daemon.becomes(chosen, Status.LIVE)


@pytest.mark.slow
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


@pytest.mark.slow
async def test_a_branch_that_is_gone_does_not_undo_what_a_person_chose(daemon: Works) -> None:
    good, late = daemon.commit(), daemon.commit()
    await daemon.told(late)
    await daemon.serves(late)
    await daemon.becomes(await daemon.scheduler.deploy("iris", good, "ada"), Status.LIVE)
    daemon.delete()
    outcome = await daemon.told(late)
    assert outcome.number is None
    assert await daemon.live() == good


@pytest.mark.slow
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
    assert daemon.builder.built == {head}


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
