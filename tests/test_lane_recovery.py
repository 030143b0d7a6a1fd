"""What the lane restores before it takes anything up: at its start, and after a deploy that broke off while it rolled out."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.domain import Deploy
from deployd.errors import BuildFailed, ConfigError, DeploydError, RolloutFailed
from deployd.goal import Trigger, Wanted
from deployd.status import Status
from tests.lanes import MAIN, A, B, Bench, C, Held, a_bench, away, failing, for_ever

ROLLING_OUT = (Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT)
LIVE = (*ROLLING_OUT, Status.LIVE)


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async with a_bench(tmp_path, monkeypatch) as made:
        yield made


async def _fails_in_its_rollout(bench: Bench, deploy: Deploy) -> None:
    for status in (Status.CHECKING, Status.ROLLING_OUT):
        await bench.store.advance(deploy, status)
    bench.world.number = None
    raise RolloutFailed("never ready")


async def test_the_start_waits_for_an_engine_that_is_away(bench: Bench) -> None:
    bench.world.trouble = away(3)
    async with bench.serving():
        await bench.becomes(await bench.push(A), Status.LIVE)
    assert bench.world.trouble == []


async def test_a_switch_that_an_earlier_life_did_is_not_done_again(bench: Bench) -> None:
    deploy = await bench.left_at(*ROLLING_OUT)
    bench.world.number = deploy.number
    async with bench.serving():
        await bench.becomes(deploy, Status.LIVE)
        assert await bench.aftermath.followed.get() == deploy.number
        assert bench.pipeline.began.empty()


@pytest.mark.parametrize("statuses", [(Status.BUILDING,), ROLLING_OUT], ids=["build", "roll-out"])
async def test_a_deploy_that_was_interrupted_is_taken_up_again(bench: Bench, statuses: tuple[Status, ...]) -> None:
    deploy = await bench.left_at(*statuses)
    async with bench.serving():
        await bench.becomes(deploy, Status.LIVE)
        assert bench.pipeline.began.get_nowait().number == deploy.number


@pytest.mark.parametrize("statuses", [(Status.BUILDING,), (Status.BUILDING, Status.CHECKING)], ids=["build", "gates"])
async def test_a_proof_that_was_interrupted_waits_for_what_is_to_serve_and_is_taken_up_again(
    bench: Bench, statuses: tuple[Status, ...]
) -> None:
    proof = await bench.store.queue(Wanted("iris", A, MAIN, Trigger("manual"), prove=True))
    for status in statuses:
        await bench.store.advance(proof, status)
    deploy = await bench.queued(B)
    bench.pipeline.scripts[A] = for_ever
    async with bench.serving():
        await bench.becomes(deploy, Status.LIVE)
        assert (await bench.pipeline.began.get()).number == deploy.number
        assert (await bench.pipeline.began.get()).number == proof.number


async def test_after_a_loss_of_the_state_queued_deploys_get_numbers_above_the_live_one(bench: Bench) -> None:
    bench.world.number = 7
    await bench.push(A)
    async with bench.serving():
        deploy = await bench.becomes("iris/8", Status.LIVE)
        assert deploy.commit == A


async def test_the_recorded_release_is_restored_and_what_came_after_it_is_done(bench: Bench) -> None:
    deploy = await bench.left_at(*LIVE)
    async with bench.serving():
        assert await bench.aftermath.followed.get() == deploy.number
        assert bench.world.restored == [deploy.number]


@pytest.mark.parametrize(
    "trouble",
    [RolloutFailed("deployments is forbidden"), ConfigError("the cluster's credentials cannot be read")],
    ids=["403", "kubeconfig"],
)
async def test_an_app_whose_target_refuses_waits_alone_until_that_is_mended(
    bench: Bench, trouble: DeploydError
) -> None:
    await bench.left_at(*LIVE)
    bench.world.trouble = [trouble] * 3
    async with bench.serving():
        await bench.becomes(await bench.push(B), Status.LIVE)
    assert bench.world.trouble == []
    assert bench.world.restored == [1]


async def test_a_release_that_a_failed_rollout_could_not_restore_is_restored_before_anything_newer(
    bench: Bench,
) -> None:
    live = await bench.left_at(*LIVE)
    bench.world.number = live.number
    bench.world.refused = away(3)
    order: list[str] = []

    async def fails(deploy: Deploy) -> None:
        await bench.queued(C)
        await _fails_in_its_rollout(bench, deploy)

    async def newer(_: Deploy) -> None:
        order.append(f"newer, {bench.world.number} serves")

    bench.pipeline.scripts |= {B: fails, C: newer}
    async with bench.serving():
        failed = await bench.push(B)
        await bench.becomes(failed, Status.FAILED)
        await bench.becomes(f"iris/{failed.number + 1}", Status.LIVE)
    assert order == [f"newer, {live.number} serves"]
    assert bench.world.restored == [live.number]


async def test_a_first_deploy_that_fails_in_its_rollout_leaves_nothing(bench: Bench) -> None:
    async with bench.serving():
        await bench.world.swept.wait()
        bench.world.swept.clear()
        bench.pipeline.scripts[A] = lambda deploy: _fails_in_its_rollout(bench, deploy)
        await bench.becomes(await bench.push(A), Status.FAILED)
        await bench.world.swept.wait()


async def test_a_deploy_that_fails_before_its_cut_over_needs_nothing_restored(bench: Bench) -> None:
    live = await bench.left_at(*LIVE)
    bench.world.number = live.number
    bench.pipeline.scripts[B] = failing(BuildFailed("no such base"))
    async with bench.serving():
        await bench.aftermath.followed.get()
        await bench.becomes(await bench.push(B), Status.FAILED)
        await bench.becomes(await bench.push(C), Status.LIVE)
    assert bench.world.restored == []


@pytest.mark.parametrize("paused", [True, False])
async def test_the_release_is_restored_before_an_interrupted_rollout_is_taken_up_or_waits(
    bench: Bench, paused: bool
) -> None:
    live = await bench.left_at(*LIVE)
    deploy = await bench.left_at(*ROLLING_OUT)
    await bench.pause(paused=paused)
    async with bench.serving():
        assert await bench.aftermath.followed.get() == live.number
        assert bench.world.restored == [live.number]
        if not paused:
            await bench.becomes(deploy, Status.LIVE)


async def test_a_release_that_dies_is_restored_while_the_next_one_is_built(bench: Bench) -> None:
    live = await bench.left_at(*LIVE)
    bench.world.number = live.number
    bench.pipeline.scripts[B] = held = Held()
    async with bench.serving():
        deploy = await bench.begins(B)
        bench.world.number = None
        bench.world.restoring.clear()
        bench.lane.keeper.wake()
        await bench.world.restoring.wait()
        held.go_on.set()
        await bench.becomes(deploy, Status.LIVE)
    assert bench.world.restored == [live.number]


async def test_a_repair_under_way_does_not_outlive_the_cut_over_of_a_newer_release(bench: Bench) -> None:
    live = await bench.left_at(*LIVE)
    bench.world.number = live.number
    bench.pipeline.scripts[B] = held = Held()
    async with bench.serving():
        deploy = await bench.begins(B)
        bench.world.number, bench.world.slow = None, asyncio.Event()
        bench.lane.keeper.wake()
        await bench.world.restoring.wait()
        held.go_on.set()
        await bench.becomes(deploy, Status.LIVE)
        bench.world.slow.set()
        while bench.lane.keeper.health(deploy.number) is None:
            await bench.world.compared.get()
            await asyncio.sleep(0)
    assert bench.world.restored == []
    assert bench.world.numbers == {"iris": deploy.number}


async def test_the_release_of_a_paused_app_is_kept_serving(bench: Bench) -> None:
    live = await bench.left_at(*LIVE)
    bench.world.number = live.number
    await bench.pause(paused=True)
    async with bench.serving():
        await bench.aftermath.followed.get()
        bench.world.number = None
        bench.lane.keeper.wake()
        await bench.world.restoring.wait()
    assert bench.world.restored == [live.number]
