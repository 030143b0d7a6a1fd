"""What the store answers when it is asked which images may go."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.domain import Deploy, Image, Status, Trigger, Wanted
from deployd.events import Events
from deployd.store.database import Database
from deployd.store.store import Store

A, B, C = "a" * 40, "b" * 40, "c" * 40


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Database(tmp_path / "db") as database:
        yield Store(database, Events())


async def _released(store: Store, commit: str, image: str) -> Deploy:
    deploy = await store.queue(Wanted("iris", commit, "refs/heads/main", Trigger("manual")))
    for status in (Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT, Status.LIVE):
        deploy = await store.advance(deploy, status)
    await store.record_image(deploy, Image("deployd/iris", commit, image))
    return deploy


async def _kept(store: Store) -> set[str]:
    return {image.id for image in (await store.kept("iris")).images}


async def test_the_image_that_a_rollback_goes_to_is_kept_however_often_the_live_commit_was_deployed(
    store: Store,
) -> None:
    await _released(store, C, "sha256:c")
    await _released(store, A, "sha256:a")
    await _released(store, B, "sha256:b")
    live = await _released(store, B, "sha256:b")
    previous = await store.previous("iris", live.number)
    assert previous is not None
    assert previous.image is not None
    assert previous.image.id == "sha256:a"
    assert await _kept(store) == {"sha256:a", "sha256:b"}


async def test_the_first_release_is_kept_though_nothing_was_before_it(store: Store) -> None:
    assert await _kept(store) == set()
    await _released(store, A, "sha256:a")
    assert await _kept(store) == {"sha256:a"}


async def test_a_release_that_was_taken_back_is_not_what_is_kept_as_the_one_before(store: Store) -> None:
    await _released(store, A, "sha256:a")
    bad = await _released(store, B, "sha256:b")
    await store.advance(bad, Status.REVERTED, reason="too many errors")
    await _released(store, C, "sha256:c1")
    await _released(store, C, "sha256:c2")
    assert "sha256:a" in await _kept(store)
