"""What the model found, each as the shortest story that shows it. Time is the world's own: see `model/clock.py`."""

from collections.abc import Iterator

import pytest

from deployd.status import Status
from tests.order.model.world import World


@pytest.fixture
def world(own_time: None) -> Iterator[World]:
    made = World()
    try:
        yield made
    finally:
        made.close()


def test_a_reload_that_comes_before_the_daemon_has_begun_counts(world: World) -> None:
    world.reload()
    world.commit()
    world.settle()


def test_an_app_is_paused_though_the_daemon_has_not_begun(world: World) -> None:
    world.daemon.disk.full_until = 0.05
    world.goes_on(0.06)
    world.pause("iris", paused=True)
    world.settle()
    assert world.rules.apps["iris"].paused


def test_a_remote_that_was_away_is_asked_for_what_is_owed_soon_after(world: World) -> None:
    world.goes_on(1)
    world.remote.away_until = world.clock.time() + 100
    commit = world.commit()
    for _ in range(12):
        world.deliver(commit)
        world.goes_on(1)
    world.goes_on(150)
    assert world.rules.apps["iris"].decided == commit


def test_a_deploy_that_two_people_cancel_at_once_is_cancelled_once(world: World) -> None:
    world.pause("iris", paused=True)
    world.goes_on(1)
    world.deliver(world.commit())
    world.goes_on(1)
    world.cancel("iris", 1)
    world.cancel("iris", 1)
    world.settle()
    assert [order.status for order in world.rules.apps["iris"].orders] == [Status.CANCELLED]


def test_a_deploy_that_is_cancelled_while_the_engine_goes_away_is_not_tried_again(world: World) -> None:
    world.goes_on(1)
    world.engine.call_s = 0.1
    world.deliver(world.commit())
    order = world.becomes("iris", Status.CHECKING)
    world.goes_on(0.05)  # its container is being made, which no cancellation tears apart
    world.engine.away_until = world.clock.time() + 1
    world.cancel("iris", 1)
    world.settle()
    assert order.status is Status.CANCELLED


def test_a_daemon_that_is_stopped_while_a_decision_cannot_be_written_ends(world: World) -> None:
    world.goes_on(1)
    world.clock.thread_s = 0.1
    world.commit()
    world.reload()
    world.goes_on(0.15)  # the decision is on its way to the disk, which no cancellation tears apart
    world.daemon.disk.full_until = world.clock.time() + 0.2
    world.restart(kill=False)
    world.settle()


def test_a_daemon_that_is_stopped_while_the_engine_is_away_in_a_restore_ends(world: World) -> None:
    world.goes_on(1)
    world.deliver(world.commit())
    world.settle()
    del world.engine.serving["iris"]
    world.engine.call_s = 1.0
    world.restart(kill=False)
    world.goes_on(1.5)  # its container is being made, which no cancellation tears apart
    world.engine.away_until = world.clock.time() + 100
    world.restart(kill=False)
    world.settle()
