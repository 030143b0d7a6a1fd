"""A version of a registered model is wanted beside the commit: real git, a real store, the real pipeline."""

import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployd.errors import RequestRefused, Unavailable
from deployd.goal import Goal, ModelVersion
from deployd.status import Status
from tests.works import Works, works

pytestmark = pytest.mark.slow

MODEL = {"registry": "http://127.0.0.1:9", "name": "iris", "alias": "champion", "into": "iris-model"}
ONE, TWO, THREE = (ModelVersion("iris", number, f"models:/m-{number}", int(number)) for number in "123")
AWAY = Unavailable("the model registry does not answer")


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Works]:
    """Its app iris takes version 1 of a registered model; docs are not among its paths."""
    async with works(tmp_path, {"model": MODEL, "paths": ["**", "!docs/"]}) as made:
        made.registry.versions["iris"] = ONE
        yield made


async def _first(daemon: Works) -> str:
    commit = daemon.commit()
    await daemon.told(commit)
    await daemon.serves(commit, model=ONE)
    return commit


async def test_a_push_is_deployed_with_the_version_that_the_alias_points_to(daemon: Works) -> None:
    commit = await _first(daemon)
    (deploy,) = await daemon.store.deploys("iris")
    assert (deploy.goal, deploy.trigger.kind) == (Goal(commit, ONE), "push")
    (request,) = daemon.builder.requests
    assert (request.registered, request.labels["io.deployd.model"]) == (ONE, "iris/1")


async def test_an_alias_that_moves_is_one_deploy_of_the_same_commit(daemon: Works) -> None:
    commit = await _first(daemon)
    daemon.registry.versions["iris"] = TWO
    assert await daemon.polled()
    live = await daemon.serves(commit, model=TWO)
    assert (live.number, live.trigger.kind, live.trigger.delivery) == (2, "model", None)
    assert not await daemon.polled()
    assert len(daemon.builder.requests) == 2, "the other version is another image"


async def test_the_delivery_that_tells_of_the_move_is_the_one_that_asked(daemon: Works) -> None:
    commit = await _first(daemon)
    daemon.registry.versions["iris"] = TWO
    guid = await daemon.moved()
    outcome = await daemon.answered(guid)
    live = await daemon.serves(commit, model=TWO)
    assert (outcome.number, outcome.commit) == (live.number, commit)
    assert (live.trigger.kind, live.trigger.delivery) == ("model", guid)


async def test_a_delivery_without_a_move_deploys_nothing(daemon: Works) -> None:
    await _first(daemon)
    outcome = await daemon.answered(await daemon.moved())
    assert outcome.number == 1
    assert len(await daemon.store.deploys("iris")) == 1


async def test_a_push_and_a_move_that_one_look_finds_are_one_deploy(daemon: Works) -> None:
    await _first(daemon)
    commit, daemon.registry.versions["iris"] = daemon.commit(), TWO
    assert await daemon.polled()
    assert (await daemon.serves(commit, model=TWO)).number == 2


async def test_a_move_deploys_the_wanted_commit_when_the_head_is_skipped(daemon: Works) -> None:
    wanted = await _first(daemon)
    skipped = daemon.commit(more={"docs/index.md": b"x"})
    assert not await daemon.polled()
    daemon.registry.versions["iris"] = TWO
    assert await daemon.polled()
    await daemon.serves(wanted, model=TWO)
    known = (await daemon.store.known(["iris"]))["iris"]
    assert (known.decided, known.wanted) == (Goal(skipped, TWO), Goal(wanted, TWO))


async def test_a_skipped_head_and_a_move_in_one_look_deploy_the_wanted_commit(daemon: Works) -> None:
    wanted = await _first(daemon)
    daemon.commit(more={"docs/index.md": b"x"})
    daemon.registry.versions["iris"] = TWO
    assert await daemon.polled()
    await daemon.serves(wanted, model=TWO)
    assert not await daemon.polled()


async def test_an_alias_that_moves_back_is_deployed_with_the_image_that_was_built(daemon: Works) -> None:
    commit = await _first(daemon)
    for version in (TWO, ONE):
        daemon.registry.versions["iris"] = version
        assert await daemon.polled()
        await daemon.serves(commit, model=version)
    assert len(await daemon.store.deploys("iris")) == 3
    assert len(daemon.builder.requests) == 2


async def test_a_rollback_goes_back_to_both_and_no_look_undoes_it(daemon: Works) -> None:
    first = await _first(daemon)
    second, daemon.registry.versions["iris"] = daemon.commit(), TWO
    assert await daemon.polled()
    await daemon.serves(second, model=TWO)
    back = await daemon.scheduler.rollback("iris", None, "ada")
    assert back.goal == Goal(first, ONE)
    await daemon.serves(first, model=ONE)
    assert not await daemon.polled()
    state = await daemon.store.state("iris")
    assert (state.held, state.held_reason) == (Goal(second, TWO), "rolled back by hand by ada")
    daemon.registry.versions["iris"] = THREE
    assert await daemon.polled()
    await daemon.serves(second, model=THREE)


async def test_a_rollback_of_the_model_alone_holds_the_app(daemon: Works) -> None:
    commit = await _first(daemon)
    daemon.registry.versions["iris"] = TWO
    assert await daemon.polled()
    await daemon.serves(commit, model=TWO)
    await daemon.scheduler.rollback("iris", None, "ada")
    await daemon.serves(commit, model=ONE)
    state = await daemon.store.state("iris")
    assert state.held == Goal(commit, TWO)
    assert state.behind_since() is not None


async def test_a_restart_keeps_the_version(daemon: Works) -> None:
    commit = await _first(daemon)
    restarted = await daemon.scheduler.restart("iris", "ada")
    assert restarted.goal == Goal(commit, ONE)
    await daemon.becomes(restarted, Status.LIVE)


async def test_while_the_registry_is_away_a_push_is_deployed_with_the_version_seen_last(
    daemon: Works, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await _first(daemon)
    daemon.registry.fault = AWAY
    commit = daemon.commit()
    outcome = await daemon.told(commit)
    live = await daemon.serves(commit, model=ONE)
    assert outcome.number == live.number == 2
    trouble = daemon.scheduler.looks.trouble("iris")
    assert trouble is not None
    assert (
        trouble.reason
        == "the model registry does not answer; a push is deployed with iris version 1, which was seen last"
    )
    assert "iris version 1" in caplog.text


async def test_a_deploy_that_failed_is_redelivered_with_the_version_seen_last(daemon: Works) -> None:
    commit = daemon.commit()
    daemon.builder.broken.add(commit)
    await daemon.told(commit, guid="g")
    await daemon.becomes("iris/1", Status.FAILED)
    daemon.builder.broken.clear()
    daemon.registry.fault = AWAY
    assert (await daemon.told(commit, guid="g")).number == 2
    await daemon.serves(commit, model=ONE)


async def test_a_look_for_a_model_stays_owed_until_the_registry_can_be_asked(daemon: Works) -> None:
    commit = await _first(daemon)
    daemon.registry.fault = AWAY
    guid = await daemon.moved()
    with pytest.raises(Unavailable):
        await daemon.polled()
    state = await daemon.store.state("iris")
    assert state.owed_since is not None
    assert state.behind_since() == state.owed_since
    daemon.registry.fault, daemon.registry.versions["iris"] = None, TWO
    await daemon.polled()
    assert (await daemon.answered(guid)).number == 2
    await daemon.serves(commit, model=TWO)


async def test_nothing_is_deployed_before_the_registry_was_seen_once(daemon: Works) -> None:
    daemon.registry.fault = AWAY
    commit = daemon.commit()
    with pytest.raises(Unavailable):
        await daemon.polled()
    assert await daemon.store.deploys("iris") == []
    with pytest.raises(RequestRefused, match="does not answer"):
        await daemon.scheduler.deploy("iris", None, "ada")
    daemon.registry.fault = None
    await daemon.polled()
    await daemon.serves(commit, model=ONE)


async def test_a_deploy_by_hand_uses_the_present_version_or_the_one_seen_last(daemon: Works) -> None:
    commit = await _first(daemon)
    daemon.registry.fault = AWAY
    assert (await daemon.scheduler.deploy("iris", commit, "ada", rebuild=True)).goal == Goal(commit, ONE)
    daemon.registry.fault, daemon.registry.versions["iris"] = None, TWO
    deploy = await daemon.scheduler.deploy("iris", commit, "ada")
    assert deploy.goal == Goal(commit, TWO)
    await daemon.serves(commit, model=TWO)


async def test_a_plan_shows_both(daemon: Works) -> None:
    commit = await _first(daemon)
    daemon.registry.versions["iris"] = TWO
    plan = await daemon.scheduler.plan("iris", None)
    assert (plan.commit, plan.registered) == (commit, TWO)
    assert plan.steps[0] == "it is the head, and would be deployed"
    assert "put iris version 2 of http://127.0.0.1:9 into iris-model/" in plan.steps
    assert plan.steps[-1] == f"switch from iris/1 ({commit[:12]} with iris version 1) to it"


async def test_a_move_does_not_wait_for_the_checks_of_a_newer_commit(tmp_path: Path) -> None:
    async with works(tmp_path, {"model": MODEL, "require": "checks", "webhook": "github.com/acme/iris"}) as daemon:
        daemon.registry.versions["iris"] = ONE
        wanted = await _first(daemon)
        waiting = daemon.commit()
        daemon.checks.red[waiting] = "test runs"
        assert not await daemon.polled()
        daemon.registry.versions["iris"] = TWO
        assert await daemon.polled()
        await daemon.serves(wanted, model=TWO)
        assert daemon.scheduler.looks.waiting("iris") is not None
        del daemon.checks.red[waiting]
        assert await daemon.polled()
        await daemon.serves(waiting, model=TWO)


async def test_trouble_of_one_app_is_not_told_of_another_of_the_same_repository(tmp_path: Path) -> None:
    async with works(tmp_path, {"model": MODEL}, {"name": "rose"}) as daemon:
        daemon.registry.fault = AWAY
        commit = daemon.commit()
        await daemon.told(commit, "rose")
        await daemon.serves(commit, app="rose")
        before = datetime.now(UTC)
        troubled = daemon.scheduler.looks.troubled()
        assert set(troubled) == {"iris"}
        assert troubled["iris"].since <= before
        assert troubled["iris"].what == "registry"
