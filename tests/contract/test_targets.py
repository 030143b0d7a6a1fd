"""What every target promises (ports.Target), asked of each: one healthy release serves, however a roll-out ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from deployd.domain import Image
from deployd.errors import RequestRefused, RolloutFailed
from deployd.goal import Trigger
from deployd.ports.gate import Candidate
from deployd.ports.target import Target
from tests.contract.worlds import CLUSTER, ENGINE, World, world_on
from tests.fake_target import FakeProgress
from tests.fakes import FakeLog


@pytest.fixture(params=["fake", ENGINE, CLUSTER])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with world_on(request, tmp_path) as made:
        yield made


async def test_a_roll_out_records_the_switch_before_it_records_that_it_serves(world: World) -> None:
    progress = await world.roll_out(1)
    assert [said for said in progress.said if said in {"rolling_out", "live"}] == ["rolling_out", "live"]
    assert await world.serving() == 1


async def test_the_next_release_replaces_the_one_before(world: World) -> None:
    await world.roll_out(1)
    await world.roll_out(2)
    assert await world.serving() == 2


async def test_the_gates_are_told_what_serves_meanwhile(world: World) -> None:
    assert (await world.roll_out(1)).live is None
    again, progress = replace(world.deploy(2), trigger=Trigger("restart")), world.progress()
    await world.target.roll_out(world.app, again, world.image("good"), progress)
    if progress.live is not None:
        assert progress.live.number == 1
    else:  # a cluster may stop the old pod before the gates are asked
        assert not world.instant


async def test_a_failed_roll_out_leaves_the_old_release_serving_and_has_a_reason(world: World) -> None:
    await world.roll_out(1)
    progress = world.progress()
    with pytest.raises(RolloutFailed, match="exited with code 1") as failed:
        await world.roll_out(2, progress, image="bad")
    assert "no model file" in failed.value.hint
    assert "live" not in progress.said
    assert await world.serving() == 1


async def test_a_first_roll_out_that_fails_leaves_nothing_serving(world: World) -> None:
    with pytest.raises(RolloutFailed):
        await world.roll_out(1, image="bad")
    assert await world.serving() is None


async def test_a_deploy_that_is_superseded_before_the_cut_over_does_not_serve(world: World) -> None:
    await world.roll_out(1)
    progress = world.progress()
    progress.outrun = True
    with pytest.raises(asyncio.CancelledError):
        await world.roll_out(2, progress)
    assert "live" not in progress.said
    assert await world.serving() == 1


async def test_a_cancellation_during_the_cut_over_leaves_one_release_that_serves_and_is_recorded(world: World) -> None:
    await world.roll_out(1)
    progress = CancelledAtCutOver(world.progress())
    progress.rollout = asyncio.create_task(world.roll_out(2, progress))
    with pytest.raises(asyncio.CancelledError):
        await progress.rollout
    assert ("live" in progress.said) is world.instant
    assert await world.serving() == (2 if world.instant else 1)


async def test_a_deploy_that_is_queued_again_is_rolled_out_under_the_same_number(world: World) -> None:
    await world.roll_out(1)
    await world.roll_out(2)
    await world.roll_out(2)
    assert await world.serving() == 2


async def test_a_proof_asks_the_gates_and_switches_nothing(world: World) -> None:
    await world.roll_out(1)
    progress = await world.prove(2)
    assert "prove" in progress.said
    assert not {"rolling_out", "live"} & set(progress.said)
    assert await world.serving() == 1
    assert await world.health(1) == "ok"


async def test_a_proof_of_what_does_not_come_up_fails_with_a_reason_and_what_serves_stays(world: World) -> None:
    await world.roll_out(1)
    with pytest.raises(RolloutFailed, match="exited with code 1") as failed:
        await world.prove(2, image="bad")
    assert "no model file" in failed.value.hint
    assert await world.serving() == 1


async def test_a_commit_is_proven_before_anything_serves_and_then_nothing_does(world: World) -> None:
    await world.prove(1)
    assert await world.serving() is None


async def test_a_sweep_keeps_the_given_deploy_and_can_be_repeated(world: World) -> None:
    await world.roll_out(1)
    await world.roll_out(2)
    for _ in range(2):
        await world.target.sweep(world.app, 2, FakeLog())
    assert await world.serving() == 2


async def test_a_sweep_keeps_what_serves_even_when_it_is_not_the_given_deploy(world: World) -> None:
    await world.roll_out(1)
    await world.target.sweep(world.app, 2, FakeLog())
    assert await world.serving() == 1


async def test_a_sweep_after_a_release_keeps_the_candidate_of_the_deploy_in_flight(world: World) -> None:
    await world.roll_out(1)
    await world.roll_out(2, SweptMeanwhile(world))
    assert await world.serving() == 2


async def test_a_sweep_without_a_recorded_release_keeps_what_serves(world: World) -> None:
    await world.roll_out(1)
    await world.target.sweep(world.app, None, FakeLog())
    assert await world.serving() == 1


async def test_a_recorded_release_can_be_restored_repeatedly(world: World) -> None:
    await world.roll_out(1)
    await world.roll_out(2)
    for _ in range(2):
        await world.target.restore(world.app, world.deploy(1))
    assert await world.serving() == 1


async def test_a_release_whose_image_was_never_built_cannot_be_restored(world: World) -> None:
    with pytest.raises(RolloutFailed):
        await world.target.restore(world.app, replace(world.deploy(1), image=None))


async def test_a_release_is_well_while_it_serves_and_down_when_another_does(world: World) -> None:
    await world.roll_out(1)
    assert await world.health(1) == "ok"
    await world.roll_out(2)
    assert (await world.health(1), await world.health(2)) == ("down", "ok")


async def test_a_release_that_somebody_removes_is_down_until_it_is_restored(world: World) -> None:
    await world.roll_out(1)
    changed = asyncio.Event()

    def tell(app: str | None) -> None:
        if app in {None, world.app.name}:
            changed.set()

    async with asyncio.timeout(60), watched(world.target, tell):
        await world.lose()
        while await world.health(1) != "down":
            await changed.wait()
            changed.clear()
        await world.target.restore(world.app, world.deploy(1))
        assert (await world.health(1), await world.serving()) == ("ok", 1)


async def test_a_release_that_stands_by_has_the_traffic_again_though_the_rest_was_swept(world: World) -> None:
    await world.roll_out(1)
    await world.roll_out(2)
    await world.target.sweep(world.app, 2, FakeLog(), standby=1)
    assert await world.serving() == 2
    for _ in range(2):
        await world.target.return_traffic(world.app, world.deploy(1))
    assert (await world.serving(), await world.health(1)) == (1, "ok")


async def test_what_runs_of_a_release_can_be_seen_and_asked_while_it_is_watched(world: World) -> None:
    await world.roll_out(1)
    await world.roll_out(2)
    lives = await world.target.lives(world.app, world.deploy(2))
    assert [life.ended for life in lives.values()] == [""]
    assert await world.target.lives(world.app, world.deploy(2)) == lives
    async with world.target.asked(world.app, world.deploy(2)) as candidate:
        assert candidate is not None
        assert (candidate.deploy.number, candidate.image) == (2, world.image("good"))


async def test_what_runs_of_a_release_that_was_lost_has_ended_or_is_gone(world: World) -> None:
    await world.roll_out(1)
    await world.lose()
    lives = await world.target.lives(world.app, world.deploy(1))
    assert [life.ended for life in lives.values()] in ([], ["was removed"])
    async with world.target.asked(world.app, world.deploy(1)) as candidate:
        assert candidate is None


async def test_an_image_that_was_never_built_is_not_there(world: World) -> None:
    progress = await world.roll_out(1)
    assert progress.image is None or await world.target.has(progress.image)
    assert not await world.target.has(Image(f"{world.image('good').name}-never", "bad", "", f"sha256:{'0' * 64}"))


async def test_removing_an_app_leaves_nothing_and_removing_an_unknown_one_is_no_error(world: World) -> None:
    await world.roll_out(1)
    await world.target.remove("nobody")
    assert await world.serving() == 1
    for _ in range(2):
        await world.target.remove(world.app.name)
    assert await world.serving() is None


async def test_an_app_that_does_not_run_has_no_output_and_runs_no_command(world: World) -> None:
    with pytest.raises(RequestRefused):
        await anext(world.target.output(world.app, follow=False, tail=1))
    with pytest.raises(RequestRefused):
        await world.target.execute(world.app, ["true"], _ignore)


async def test_a_ping_names_its_parts(world: World) -> None:
    await world.roll_out(1)
    assert set((await world.target.ping()).values()) == {"ok"}


class SweptMeanwhile(FakeProgress):
    """The clean-up behind the release before is tried again while the next one proves itself."""

    def __init__(self, world: World) -> None:
        super().__init__(world.progress().gate)
        self._world = world

    async def prove(self, candidate: Candidate) -> None:
        number = candidate.deploy.number
        await self._world.target.sweep(self._world.app, number - 1, FakeLog(), lambda: number)
        await super().prove(candidate)


class CancelledAtCutOver(FakeProgress):
    """Whoever rolls out is cancelled at the very moment that it begins to switch."""

    def __init__(self, like: FakeProgress) -> None:
        super().__init__(like.gate)
        self.rollout: asyncio.Task[Any] | None = None

    async def cutting_over(self) -> None:
        await super().cutting_over()
        assert self.rollout is not None
        self.rollout.cancel()
        await asyncio.sleep(0)


@asynccontextmanager
async def watched(target: Target, changed: Callable[[str | None], None]) -> AsyncIterator[None]:
    """Watch the target for the length of the block."""
    watch = asyncio.create_task(target.watch(changed))
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.wait({watch})
    assert watch.cancelled(), watch


async def _ignore(chunk: bytes) -> None:
    assert chunk
