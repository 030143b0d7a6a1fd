"""The geometry of the small drawings, and how far a deploy has come."""

from datetime import UTC, datetime, timedelta

from deployd.api.pages import bars
from deployd.domain import Step, StepStatus
from deployd.status import Status
from deployd.store.deploys import Brief

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


def _step(name: str, began: float, ended: float | None, status: StepStatus = "done") -> Step:
    at = NOW - timedelta(seconds=100)
    return Step(name, status, at + timedelta(seconds=began), None if ended is None else at + timedelta(seconds=ended))


def test_the_last_deploys_are_as_high_as_they_took_long() -> None:
    brief = [Brief(1, Status.RETIRED, 10), Brief(2, Status.FAILED, 5), Brief(3, Status.QUEUED, 0)]
    drawn = bars.last_deploys(brief)
    assert [(bar.x, bar.y, bar.height, bar.tone) for bar in drawn] == [
        (0, 0, 22, "ok"),
        (8, 9, 13, "bad"),
        (16, 18, 4, "wait"),
    ]
    assert [bar.told for bar in drawn] == ["#1 retired, 10 s", "#2 failed, 5.0 s", "#3 queued"]
    assert bars.width(3) == 22
    assert bars.last_deploys([]) == []


def test_steps_stand_where_they_began_and_are_as_wide_as_they_took_long() -> None:
    steps = [_step("fetch", 0, 10), _step("build", 10, 60), _step("ready", 60, None, "running")]
    drawn = bars.step_bars(steps, 200, NOW)
    assert [(bar.x, bar.width, bar.told) for bar in drawn] == [
        (0, 48, "fetch 10 s"),
        (50, 248, "build 50 s"),
        (300, 198, "ready 40 s"),
    ]


def test_a_step_that_took_no_time_can_still_be_seen() -> None:
    assert [bar.width for bar in bars.step_bars([_step("cut-over", 0, 0)], 100, NOW)] == [3]


USUAL = {"fetch": 2.0, "build": 60.0, "ready": 8.0}


def test_progress_counts_the_steps_that_are_over_by_their_usual_length() -> None:
    steps = [_step("fetch", 50, 60), _step("build", 60, None, "running")]
    found = bars.progress(steps, USUAL, NOW)
    assert found == bars.Progress(42.0, 70.0, "build", "about 28 s left")


def test_progress_says_when_a_step_takes_longer_than_usual_and_goes_no_further() -> None:
    found = bars.progress([_step("fetch", 0, 1), _step("build", 1, None, "running")], {"fetch": 2, "build": 20}, NOW)
    assert found is not None
    assert (found.done, found.rest) == (22, "takes longer than usual (20 s)")


def test_there_is_no_progress_without_a_running_step_or_an_earlier_release() -> None:
    assert bars.progress([_step("fetch", 0, 1)], USUAL, NOW) is None
    assert bars.progress([_step("fetch", 0, None, "running")], {}, NOW) is None


def test_a_step_that_no_earlier_release_had_counts_nothing() -> None:
    found = bars.progress([_step("fetch", 0, 1), _step("canary", 1, None, "running")], USUAL, NOW)
    assert found is not None
    assert (found.done, found.now) == (2.0, "canary")
