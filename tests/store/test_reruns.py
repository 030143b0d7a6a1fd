"""A restart of the live release, and another try of a head that failed for the config: when they are queued, and when not."""

import pytest
from msgspec import structs

from deployd.domain import Deploy, Image
from deployd.goal import Trigger
from deployd.status import Status
from deployd.store.store import Store
from tests.store.given import SUCCESS, A, B, C, gone, live, queued, wanted

IMAGE = Image("deployd/iris", A, "sha256:1")


async def _live(store: Store, commit: str = A, config: str = "old") -> Deploy:
    deploy = await live(store, commit)
    await store.record_image(deploy, IMAGE)
    await store.record_config(deploy, config, "settings")
    found = await store.deploy("iris", deploy.number)
    assert found is not None
    return found


async def _restarted(store: Store, config: str = "new", by: str | None = "ada") -> Deploy | None:
    return await store.restart("iris", "docker", config, by)


async def test_a_restart_is_a_deploy_of_what_is_live_with_its_image(store: Store) -> None:
    before = await _live(store)
    deploy = await _restarted(store)
    assert deploy is not None
    assert deploy == await store.take_newest("iris")
    assert (deploy.commit, deploy.image, deploy.config) == (before.commit, IMAGE, "new")
    assert (deploy.trigger, deploy.rollback_to) == (Trigger("restart", by="ada"), None)


async def test_without_a_live_release_and_beside_another_deploy_there_is_no_restart(store: Store) -> None:
    assert await _restarted(store) is None
    await _live(store)
    deploy = await queued(store, B)
    assert await _restarted(store) is None
    deploy = await gone(store, deploy, Status.BUILDING)
    assert await _restarted(store) is None
    await gone(store, deploy, Status.FAILED)
    assert await _restarted(store) is not None


async def test_a_changed_config_restarts_once_and_not_again_when_that_failed(store: Store) -> None:
    await _live(store)
    assert await store.renew("iris", "docker", "old") is None
    deploy = await store.renew("iris", "docker", "new")
    assert deploy is not None
    assert deploy.trigger == Trigger("restart")
    await gone(store, deploy, Status.FAILED)
    assert await store.renew("iris", "docker", "new") is None
    assert await store.renew("iris", "docker", "newer") is not None


async def test_a_changed_config_restarts_no_paused_app_and_nothing_of_which_the_config_is_unknown(store: Store) -> None:
    deploy = await live(store, A)
    await store.record_image(deploy, IMAGE)
    assert await store.renew("iris", "docker", "new") is None
    await store.record_config(deploy, "old")
    await store.pause("iris", paused=True)
    assert await store.renew("iris", "docker", "new") is None
    await store.pause("iris", paused=False)
    assert await store.renew("iris", "kubernetes", "new") is None
    assert await store.renew("iris", "docker", "new") is not None


@pytest.mark.parametrize("rollback", [False, True])
async def test_a_restart_does_not_change_why_an_app_is_held(store: Store, rollback: bool) -> None:
    first = await _live(store)
    failed = await queued(store, B)
    await gone(store, failed, Status.FAILED, reason="exit code 1")
    if rollback:
        back = structs.replace(wanted(A, by_hand=True), rollback_to=first.number)
        deploy = await gone(store, await store.queue(back), *SUCCESS)
        await store.record_image(deploy, IMAGE)
    before = (await store.state("iris")).held_reason
    restarted = await _restarted(store)
    assert restarted is not None
    await gone(store, restarted, *SUCCESS)
    state = await store.state("iris")
    assert state.held_reason == before == ("rolled back by hand by ada" if rollback else "iris/2 failed: exit code 1")


async def _failed(store: Store, *, config_fault: bool = False, settings: str = "old") -> Deploy:
    deploy = await queued(store, B)
    await store.record_config(deploy, "config", settings)
    return await store.advance(deploy, Status.FAILED, reason="TOKEN is not set", config_fault=config_fault)


async def test_a_head_that_failed_for_the_config_is_tried_again(store: Store) -> None:
    await _live(store)
    failed = await _failed(store, config_fault=True)
    deploy = await store.try_again("iris", "docker", "old")
    assert deploy is not None
    assert (deploy.number, deploy.commit, deploy.trigger) == (failed.number + 1, B, failed.trigger)
    await gone(store, deploy, Status.FAILED, reason="again")
    assert (await store.state("iris")).held_reason == "iris/3 failed: again"


async def test_a_first_head_that_failed_for_the_config_is_tried_again_too(store: Store) -> None:
    await _failed(store, config_fault=True)
    assert await store.try_again("iris", "docker", "old") is not None


async def test_a_head_that_failed_is_tried_again_only_with_other_settings(store: Store) -> None:
    await _live(store)
    await _failed(store)
    assert await store.try_again("iris", "docker", "old") is None
    assert await store.try_again("iris", "docker", "new") is not None
    assert await store.try_again("iris", "docker", "newer") is None  # it waits already


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.SUPERSEDED])
async def test_a_head_that_did_not_fail_is_not_tried_again(store: Store, status: Status) -> None:
    await _live(store)
    await gone(store, await queued(store, B), status)
    assert await store.try_again("iris", "docker", "new") is None


async def test_a_deploy_by_a_person_after_the_failure_stays(store: Store) -> None:
    await _live(store)
    await _failed(store, config_fault=True)
    deploy = await live(store, A, by_hand=True)
    await store.record_image(deploy, IMAGE)
    assert await store.try_again("iris", "docker", "new") is None
    restarted = await _restarted(store)
    assert restarted is not None
    await gone(store, restarted, *SUCCESS)
    assert await store.try_again("iris", "docker", "new") is None


async def test_a_restart_after_the_failure_is_no_choice_of_a_person(store: Store) -> None:
    await _live(store)
    await _failed(store, config_fault=True)
    restarted = await _restarted(store)
    assert restarted is not None
    await gone(store, restarted, *SUCCESS)
    deploy = await store.try_again("iris", "docker", "old")
    assert deploy is not None
    assert deploy.commit == B


async def test_a_newer_head_than_the_failed_one_is_not_undone(store: Store) -> None:
    await _failed(store, config_fault=True)
    await live(store, C)
    assert await store.try_again("iris", "docker", "new") is None
