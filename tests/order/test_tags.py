"""An app that follows tags is deployed at the highest version."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.status import Status
from tests.works import Works, works


@pytest.fixture
async def tagged(tmp_path: Path) -> AsyncIterator[Works]:
    async with works(tmp_path, {"tag": "v*"}) as made:
        yield made


def _tag(daemon: Works, name: str, *, annotated: bool = False) -> tuple[str, str]:
    """A tag on a new commit; the commit and the tag's ref."""
    commit = daemon.commit()
    daemon.repository.git("tag", "--force", *(("-a", "-m", name) if annotated else ()), name, commit)
    return commit, f"refs/tags/{name}"


@pytest.mark.slow
@pytest.mark.parametrize("annotated", [True, False], ids=["annotated", "plain"])
async def test_a_tag_is_deployed_and_a_higher_one_after_it(tagged: Works, annotated: bool) -> None:
    for name in ("v1.9", "v1.10"):
        commit, ref = _tag(tagged, name, annotated=annotated)
        await tagged.told(commit, ref=ref)
        await tagged.serves(commit)
        assert not await tagged.polled()


@pytest.mark.slow
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


@pytest.mark.slow
async def test_a_tag_that_is_moved_is_deployed_anew(tagged: Works) -> None:
    commit, ref = _tag(tagged, "v1.9")
    await tagged.told(commit, ref=ref)
    await tagged.serves(commit)
    moved, _ = _tag(tagged, "v1.9")
    await tagged.told(moved, ref=ref)
    await tagged.serves(moved)


@pytest.mark.slow
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


@pytest.mark.slow
async def test_a_release_comes_after_its_candidates(tagged: Works) -> None:
    for name in ("v2.0rc1", "v2.0-rc.2", "v2.0"):
        commit, ref = _tag(tagged, name)
        await tagged.told(commit, ref=ref)
        await tagged.serves(commit)


async def test_a_tag_that_is_no_version_is_not_deployed_and_that_is_said(
    tagged: Works, caplog: pytest.LogCaptureFixture
) -> None:
    commit, ref = _tag(tagged, "vnext")
    why = f"no ref that matches refs/tags/v* is a version: {ref}"
    assert not await tagged.polled()
    outcome = await tagged.told(commit, ref=ref)
    assert (outcome.number, outcome.reason) == (None, f"{why}; the live release stays")
    said = [one.getMessage() for one in caplog.records]
    assert said.count(f"iris has nothing to deploy: {why}") == 1
    assert (await tagged.scheduler.plan("iris", "vnext")).steps[0] == f"it cannot become the head: {why}"


@pytest.mark.slow
async def test_a_tag_that_an_app_names_whole_need_not_be_a_version(tmp_path: Path) -> None:
    async with works(tmp_path, {"tag": "production"}) as daemon:
        for _ in range(2):
            commit, ref = _tag(daemon, "production")
            await daemon.told(commit, ref=ref)
            await daemon.serves(commit)
