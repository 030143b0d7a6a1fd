"""An app with `paths` is deployed when one of them has changed since the commit that it wanted last."""

import asyncio
from pathlib import Path

import pytest

from deployd.status import Status
from tests.order.conftest import DOCS
from tests.works import Works, works


@pytest.mark.slow
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


@pytest.mark.slow
async def test_a_push_to_docs_lets_the_one_before_it_finish(filtered: Works) -> None:
    wanted = filtered.commit()
    filtered.builder.held[wanted] = asyncio.Event()
    await filtered.becomes(await filtered.deployed(wanted), Status.BUILDING)
    assert (await filtered.told(filtered.commit(more=DOCS))).number is None
    filtered.builder.held[wanted].set()
    await filtered.serves(wanted)


@pytest.mark.slow
async def test_a_waiting_commit_is_deployed_though_a_push_to_docs_came_after_it(filtered: Works) -> None:
    await filtered.scheduler.pause("iris", paused=True)
    wanted = filtered.commit()
    await filtered.told(wanted)
    await filtered.told(filtered.commit(more=DOCS))
    await filtered.scheduler.pause("iris", paused=False)
    await filtered.serves(wanted)


@pytest.mark.slow
async def test_a_push_to_docs_brings_the_code_push_before_it_whose_hook_was_missed(filtered: Works) -> None:
    await filtered.becomes(await filtered.deployed(filtered.commit()), Status.LIVE)
    missed, docs = filtered.commit(), filtered.commit(more=DOCS)
    await filtered.becomes(await filtered.deployed(docs), Status.LIVE)
    late = await filtered.told(missed)
    assert (late.number, late.commit) == (2, docs)


@pytest.mark.slow
async def test_a_push_that_takes_a_missed_one_back_changes_nothing(filtered: Works) -> None:
    await filtered.becomes(await filtered.deployed(filtered.commit(model=b"1")), Status.LIVE)
    filtered.commit(model=b"2")
    assert (await filtered.told(filtered.commit(model=b"1", more=DOCS))).number is None


@pytest.mark.slow
async def test_everything_counts_as_changed_when_the_commit_that_was_wanted_last_is_gone(filtered: Works) -> None:
    await filtered.becomes(await filtered.deployed(filtered.commit()), Status.LIVE)
    filtered.commit(more=DOCS)
    state = await filtered.store.known(["iris"])
    assert state["iris"].wanted is not None
    filtered.forget_everything_but_the_head()
    assert (await filtered.told(filtered.head())).number == 2


@pytest.mark.slow
async def test_a_look_that_nothing_asked_for_skips_what_a_delivery_would_have_skipped(tmp_path: Path) -> None:
    """Marks, and the paths of another app in the same repository."""
    async with works(tmp_path, {"paths": ["iris/"]}, {"name": "rose", "paths": ["rose/"]}) as daemon:
        first = daemon.commit(more={"iris/model": b"1", "rose/model": b"1"})
        await daemon.polled()
        await daemon.serves(first)
        await daemon.serves(first, "rose")
        head = daemon.commit(more={"iris/model": b"1", "rose/model": b"2"})
        assert await daemon.polled("rose")
        await daemon.serves(head, "rose")
        daemon.commit(subject="Retrain [skip ci]", more={"iris/model": b"2", "rose/model": b"2"})
        assert not await daemon.polled()
        assert [deploy.commit for deploy in await daemon.store.deploys("iris")] == [first]
        assert [deploy.commit for deploy in await daemon.store.deploys("rose")] == [head, first]
