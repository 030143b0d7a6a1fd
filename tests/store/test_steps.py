"""The steps of deploys."""

import pytest

from deployd.domain import Deploy
from deployd.status import Status
from deployd.store.store import Store
from tests.store.given import A, B, queued


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
