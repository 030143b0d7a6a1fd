"""Which images go, and what is asked of the builder for it, over a real store."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.config.daemon import Retention
from deployd.domain import Build, Image, Kept
from deployd.events import Events
from deployd.goal import Trigger, Wanted
from deployd.logs.logs import Logs
from deployd.pruning import Pruned, Pruner, freed, to_prune
from deployd.status import Status
from deployd.store.database import Database
from deployd.store.store import Store
from tests.adapters import FakeBuilder
from tests.desk import MAIN

A, B, C, D = "a" * 40, "b" * 40, "c" * 40, "d" * 40
NONE = Retention.model_validate({"images": 0})


def builds(count: int) -> list[Build]:
    """So many builds, newest first, each of its own commit."""
    return [
        Build(n, "iris", n, f"c{n}", f"iris:{n}", datetime.now(UTC), image=Image("iris", f"{n}", f"i{n}"))
        for n in reversed(range(count))
    ]


def pruned(sizes: list[int], keep: set[str], count: int, size: int) -> list[str]:
    kept = Kept([Image("iris", "", image) for image in keep])
    layers = {number: {f"layer {number}": bytes_} for number, bytes_ in enumerate(sizes)}
    going = to_prune(builds(len(sizes)), layers, kept, count, size)
    return [build.image.id for build in going if build.image is not None]


def test_the_oldest_images_are_removed_first() -> None:
    assert pruned([1, 1, 1], set(), 2, 100) == ["i0"]


def test_the_total_size_is_limited_as_well_as_the_number() -> None:
    assert pruned([40, 40, 40], set(), 10, 100) == ["i0"]


def test_a_kept_image_stays_even_beyond_the_limits() -> None:
    assert pruned([90, 90, 90], {"i0"}, 1, 100) == ["i1", "i2"]


def test_kept_images_count_towards_the_limits() -> None:
    assert pruned([1] * 8, {"i7", "i0"}, 5, 100) == ["i1", "i2", "i3"]


def test_a_small_old_image_does_not_outlive_a_large_newer_one() -> None:
    assert pruned([1, 90, 90], set(), 10, 100) == ["i0", "i1"]


def test_a_layer_that_images_share_is_counted_once_and_freed_with_the_last_of_them() -> None:
    made = builds(4)  # the newest first: 3, 2, 1, 0
    layers = {n: {"base": 100, f"model {n // 2}": 50, f"code {n}": 1} for n in range(4)}
    assert to_prune(made, layers, Kept([]), 10, 204) == []
    assert to_prune(made, layers, Kept([]), 10, 203) == [made[3]]
    going = to_prune(made, layers, Kept([]), 2, 203)
    assert going == [made[3], made[2]]
    assert freed(going, layers) == {0: 1, 1: 51}
    assert freed(made[::-1], layers) == {0: 1, 1: 51, 2: 1, 3: 151}


@given(st.lists(st.integers(0, 50), max_size=10), st.sets(st.integers(0, 9)), st.integers(0, 10), st.integers(0, 200))
def test_images_that_are_not_kept_stay_only_within_the_limits(
    sizes: list[int], kept: set[int], count: int, size: int
) -> None:
    keep = {f"i{n}" for n in kept}
    going = set(pruned(sizes, keep, count, size))
    left = {f"i{n}" for n in range(len(sizes))} - going
    assert not going & keep
    assert len(left) <= max(count, len(keep & left))


class World:
    """A pruner over a real store, and images that were built."""

    def __init__(self, directory: Path, store: Store) -> None:
        self.store, self.builder = store, FakeBuilder()
        self.pruner = Pruner(store, Logs(directory / "logs"), self.builder, 10**9)

    async def built(self, commit: str, *statuses: Status) -> str:
        """The full name of the image of a deploy that went through `statuses`."""
        deploy = await self.store.queue(Wanted("iris", commit, MAIN, Trigger("push")))
        image = Image("deployd/here/iris", f"{commit}-{deploy.number}", f"sha256:{commit}")
        self.builder.images[image.full_name] = image
        build = await self.store.begin_build(deploy, image.full_name, "settings")
        for status in statuses:
            deploy = await self.store.advance(deploy, status)
        await self.store.end_build(deploy, build, image, None)
        return image.full_name

    async def live(self, commit: str) -> str:
        return await self.built(commit, Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT, Status.LIVE)

    async def failed(self, commit: str) -> str:
        return await self.built(commit, Status.BUILDING, Status.FAILED)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with Database(tmp_path / "db") as database:
        yield World(tmp_path, Store(database, Events()))


async def test_the_live_and_the_previous_release_and_what_is_to_come_keep_their_images(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    old, failed = await world.live(A), await world.failed(B)
    kept = [await world.live(C), await world.live(D)]
    waiting = await world.built("e" * 40)
    removed = await world.pruner.images("iris", NONE)
    assert {each.name for each in removed} == {old, failed}
    assert sorted(world.builder.images) == sorted([*kept, waiting])
    assert f"Removed the image {old}" in caplog.text
    assert await world.pruner.images("iris", NONE) == []


async def test_a_dry_run_tells_what_would_go_and_removes_nothing(world: World) -> None:
    old = await world.failed(A)
    used = await world.failed(B)
    world.builder.used.add(used)
    expected = [
        Pruned("image", old, 10, "iris"),
        Pruned("image", used, 10, "iris", gone=False, note="the container a uses it"),
    ]
    assert await world.pruner.images("iris", NONE, dry_run=True) == expected
    assert sorted(world.builder.images) == sorted([old, used])
    assert await world.pruner.images("iris", NONE) == expected


async def test_an_image_that_a_container_uses_is_tried_again_later(world: World) -> None:
    used = await world.failed(A)
    world.builder.used.add(used)
    await world.pruner.images("iris", NONE)
    assert [build.name for build in await world.store.builds("iris")] == [used]
    world.builder.used.clear()
    assert [each.name for each in await world.pruner.images("iris", NONE)] == [used]
    assert await world.store.builds("iris") == []


async def test_nobody_takes_up_an_image_that_is_going_and_no_image_goes_that_was_taken_up(world: World) -> None:
    name = await world.failed(A)
    (build,) = await world.store.builds("iris")
    assert await world.store.let_go(build)
    assert await world.store.built("iris", A, "settings") == []
    await world.store.keep(build)
    assert [found.name for found in await world.store.built("iris", A, "settings")] == [name]
    await world.store.queue(Wanted("iris", A, MAIN, Trigger("push")))
    assert not await world.store.let_go(build)


async def test_the_image_of_a_build_that_was_cut_short_is_removed_by_its_name(world: World) -> None:
    deploy = await world.store.queue(Wanted("iris", A, MAIN, Trigger("push")))
    await world.store.begin_build(deploy, f"deployd/here/iris:{A}-1", "settings")
    image = Image("deployd/here/iris", f"{A}-1", "sha256:1")
    world.builder.images[image.full_name] = image
    await world.pruner.images("iris", NONE)
    assert list(world.builder.images) == [image.full_name]  # it may be built at this moment
    await world.store.withdraw(deploy)
    await world.pruner.images("iris", NONE)
    assert world.builder.images == {}
    assert await world.store.builds("iris") == []


async def test_all_images_of_a_removed_app_go_but_those_that_somebody_uses(world: World) -> None:
    live, used = await world.live(A), await world.live(B)
    world.builder.used.add(used)
    assert {each.name: each.gone for each in await world.pruner.all_images("iris", dry_run=True)} == {
        live: True,
        used: False,
    }
    await world.pruner.all_images("iris")
    assert list(world.builder.images) == [used]
    assert [build.name for build in await world.store.builds("iris")] == [used]
