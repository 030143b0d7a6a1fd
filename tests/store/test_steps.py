"""The steps of deploys."""

import pytest

from deployd.domain import Deploy
from deployd.status import Status
from deployd.store.store import Store
from tests.store.given import A, B, gone, queued


async def _steps(store: Store, deploy: Deploy) -> list[tuple[str, str, str]]:
    found = await store.deploy(deploy.app, deploy.number)
    assert found is not None
    return [(step.name, step.status, step.detail) for step in found.steps]


@pytest.fixture
async def deploy(store: Store) -> Deploy:
    return await queued(store, A)


async def test_steps_are_listed_in_the_order_in_which_they_began(store: Store, deploy: Deploy) -> None:
    fetch = await store.begin_step(deploy, "fetch")
    build = await store.begin_step(deploy, "build")
    assert await _steps(store, deploy) == [("fetch", "running", ""), ("build", "running", "")]
    await store.end_step(deploy, fetch, "fetch", "done")
    await store.end_step(deploy, build, "build", "failed")
    assert await _steps(store, deploy) == [("fetch", "done", ""), ("build", "failed", "")]


async def test_a_repeated_step_is_recorded_separately(store: Store, deploy: Deploy) -> None:
    for status in ("failed", "done"):
        position = await store.begin_step(deploy, "build")
        await store.end_step(deploy, position, "build", status)
    assert await _steps(store, deploy) == [("build", "failed", ""), ("build", "done", "")]


async def test_the_progress_of_a_step_is_stored(store: Store, deploy: Deploy) -> None:
    position = await store.begin_step(deploy, "rollout")
    await store.record_detail(deploy, position, "rollout", "2 of 4 updated")
    await store.end_step(deploy, position, "rollout", "done")
    assert await _steps(store, deploy) == [("rollout", "done", "2 of 4 updated")]


async def test_a_deploy_that_is_queued_again_has_no_running_step(store: Store, deploy: Deploy) -> None:
    await store.advance(deploy, Status.BUILDING)
    await store.begin_step(deploy, "build")
    await store.advance(deploy, Status.QUEUED, reason="deployd was stopped")
    after = await store.deploy("iris", 1)
    assert after is not None
    assert (after.status, after.started_at) == (Status.QUEUED, None)
    assert await _steps(store, deploy) == [("build", "cancelled", "")]


async def test_only_interrupted_steps_are_ended(store: Store, deploy: Deploy) -> None:
    other = await queued(store, B, "rose")
    position = await store.begin_step(deploy, "fetch")
    await store.end_step(deploy, position, "fetch", "done")
    await store.begin_step(deploy, "build")
    await store.begin_step(other, "fetch")
    await store.end_interrupted_steps()
    assert await _steps(store, deploy) == [("fetch", "done", ""), ("build", "cancelled", "")]
    assert await _steps(store, other) == [("fetch", "cancelled", "")]


async def _took(store: Store, number: int, seconds: float) -> None:
    change = "UPDATE steps SET started_at = finished_at - ? WHERE number = ? AND name = 'build'"
    await store._database.write(lambda connection: connection.execute(change, (seconds, number)).rowcount)


async def test_the_usual_length_of_a_step_is_the_median_of_the_last_releases(store: Store) -> None:
    for number, seconds in enumerate((5.0, 60.0, 7.0), start=1):
        deploy = await queued(store, str(number) * 40)
        deploy = await gone(store, deploy, Status.BUILDING)
        for name in ("fetch", "build"):
            position = await store.begin_step(deploy, name)
            await store.end_step(deploy, position, name, "done")
        await gone(store, deploy, Status.CHECKING, Status.ROLLING_OUT, Status.LIVE)
        await _took(store, number, seconds)
    failed = await gone(store, await queued(store, "9" * 40), Status.BUILDING)
    await store.end_step(failed, await store.begin_step(failed, "build"), "build", "failed")
    await gone(store, failed, Status.FAILED)
    usual = await store.usual(["iris", "rose"])
    assert list(usual["iris"]) == ["fetch", "build"]
    assert round(usual["iris"]["build"]) == 7
    assert usual["rose"] == {}


async def test_the_steps_of_several_deploys_are_read_at_once(store: Store) -> None:
    first = await gone(store, await queued(store, A), Status.BUILDING)
    await store.begin_step(first, "fetch")
    found = await store.steps_of("iris", [1, 2])
    assert [step.name for step in found[1]] == ["fetch"]
    assert found[2] == ()
