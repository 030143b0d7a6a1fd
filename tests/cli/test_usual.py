"""How far a deploy has come, by what earlier ones took."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deployd.api.answers import DeployAnswer, StepAnswer, TriggerAnswer
from deployd.cli.usual import estimate, same_kind, steps_of, usual_seconds
from deployd.domain import StepStatus
from deployd.status import Status

BEGAN = datetime(2026, 11, 27, tzinfo=UTC)
USUAL = {"fetch": 2.0, "build": 30.0, "ready": 8.0}


def _step(name: str, seconds: float | None = 1.0, status: StepStatus = "done") -> StepAnswer:
    end = BEGAN + timedelta(seconds=seconds) if seconds is not None else None
    return StepAnswer(name=name, status=status if end else "running", started_at=BEGAN, finished_at=end)


def _deploy(number: int, status: Status = Status.LIVE, steps: Sequence[StepAnswer] = (), **more: Any) -> DeployAnswer:
    trigger = TriggerAnswer(kind=more.pop("kind", "push"))
    text = {"app": "iris", "commit": "a" * 40, "ref": "", "subject": "", "author": ""}
    return DeployAnswer(
        number=number, status=status, steps=list(steps), trigger=trigger, created_at=BEGAN, **text, **more
    )


def test_usual_seconds_are_medians_in_the_order_of_the_newest_deploys_steps() -> None:
    earlier = [
        _deploy(3, steps=[_step("fetch", 1), _step("build", 50), _step("drain", 9)]),
        _deploy(2, steps=[_step("fetch", 3), _step("build", 10)]),
        _deploy(1, steps=[_step("fetch", 2), _step("build", 30), _step("ready", 5, "failed")]),
    ]
    assert list(usual_seconds(earlier).items()) == [("fetch", 2.0), ("build", 30.0)]


def test_only_deploys_that_took_the_same_steps_to_their_end_are_learnt_from() -> None:
    rollback = _deploy(6, rollback_to=1, kind="rollback")
    earlier = [
        rollback,
        _deploy(5, Status.FAILED),
        _deploy(4, Status.RETIRED),
        _deploy(3, kind="restart"),
        _deploy(2, Status.PROVEN, prove=True),
        _deploy(1, Status.REVERTED, kind="poll"),
    ]
    assert [one.number for one in same_kind(_deploy(7, Status.QUEUED), earlier, 9)] == [4, 1]
    assert [one.number for one in same_kind(_deploy(7, Status.QUEUED), earlier, 1)] == [4]
    assert same_kind(_deploy(7, Status.QUEUED, rollback_to=4, kind="rollback"), earlier, 9) == [rollback]
    assert [one.number for one in same_kind(_deploy(7, Status.QUEUED, prove=True), earlier, 9)] == [2]


@pytest.mark.parametrize(
    ("steps", "running_for", "done", "left"),
    [
        ([], 0.0, 0.0, 40.0),
        ([_step("fetch")], 0.0, 0.05, 38.0),
        ([_step("fetch"), _step("build", None)], 15.0, 17 / 40, 23.0),
        ([_step("fetch"), _step("build", None)], 45.0, 32 / 40, None),  # longer than usual
        ([_step("fetch"), _step("ready", None)], 4.0, 0.6, 4.0),  # nothing was built this time
        ([_step("fetch"), _step("score", None)], 3.0, 5 / 43, 38.0),  # a step that is new
        ([_step("fetch"), _step("build"), _step("ready")], 0.0, 1.0, 0.0),
    ],
)
def test_a_deploy_has_come_as_far_as_its_steps_usually_take(
    steps: list[StepAnswer], running_for: float, done: float, left: float | None
) -> None:
    found = estimate(steps, USUAL, running_for)
    assert found is not None
    assert found.done == pytest.approx(done)
    assert found.left == (None if left is None else pytest.approx(left))


def test_without_an_earlier_deploy_nothing_is_estimated() -> None:
    assert estimate([_step("fetch", None)], {}, 3.0) is None


def test_steps_after_the_switch_are_left_out() -> None:
    assert [step.name for step in steps_of(_deploy(1, steps=[_step("build"), _step("watch"), _step("prune")]))] == [
        "build"
    ]
