"""The counters of a gateway over a watch: errors, durations, and what the release before was asked."""

from collections.abc import Mapping

import pytest

from deployd.judge.traffic import Counters, Place, Reading, Traffic
from deployd.watch import requests
from deployd.watch.requests import Baseline, Errors, Latency

FAST, SLOW = 10_000, 60_000  # µs


def _reading(answered: int, errors: int = 0, latencies: Mapping[int, int] | None = None, worker: int = 1) -> Reading:
    counters = Counters(attempts=answered, answered=answered, errors=errors, latencies=latencies or {})
    return {Place(worker, "s1", "10.0.0.2:5000"): counters}


class Counted:
    """The readings of the next measurements."""

    def __init__(self, *readings: Reading) -> None:
        self._readings = list(readings)

    async def __call__(self) -> Reading:
        return self._readings.pop(0)


BEFORE = Traffic(5000, 2, 0, {FAST: 5000})


async def test_errors_that_became_frequent_are_told_with_the_figures() -> None:
    sign = Errors(Counted(_reading(100), _reading(200), _reading(240, 20)), BEFORE, 0.005)
    assert [await sign.measure() for _ in range(3)][:2] == ["", ""]
    result = sign.result()
    assert (result.verdict, result.moment) == ("failed", "after")
    assert result.detail == "20 of 140 requests failed (2 of 5,000 of the release before; usual is up to 0.50%)"
    assert {
        key: result.figures[key] for key in ("requests", "errors", "old_requests", "old_errors", "cusum_limit")
    } == {
        "requests": 140,
        "errors": 20,
        "old_requests": 5000,
        "old_errors": 2,
        "cusum_limit": 14.0,
    }


async def test_counts_from_before_the_watch_are_left_out() -> None:
    sign = Errors(Counted(_reading(9000, 9000), _reading(9100, 9000)), BEFORE, 0.005)
    assert [await sign.measure() for _ in range(2)] == ["", ""]
    assert (sign.result().verdict, sign.result().figures["errors"]) == ("passed", 0)


async def test_a_reading_while_the_container_does_not_run_loses_nothing_and_counts_nothing_twice() -> None:
    sign = Errors(Counted(_reading(100), {}, _reading(200, 1)), BEFORE, 0.005)
    assert [await sign.measure() for _ in range(3)] == [""] * 3
    assert (sign.result().figures["requests"], sign.result().figures["errors"]) == (100, 1)


async def test_too_few_requests_are_not_judged() -> None:
    sign = Errors(Counted(_reading(0), _reading(20)), BEFORE, 0.005)
    assert [await sign.measure() for _ in range(2)] == ["", ""]
    assert sign.result().verdict == "not_judged"


async def test_without_counts_errors_and_latency_are_not_judged() -> None:
    errors, latency = Errors(Counted({}), Traffic(), 0.005), Latency(Counted({}), Traffic(), 3.0)
    assert (await errors.measure(), await latency.measure()) == ("", "")
    assert (errors.result().verdict, errors.result().detail) == ("not_judged", "no requests were counted")
    assert latency.result().verdict == "not_judged"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> "Clock":
    made = Clock()
    monkeypatch.setattr(requests, "time", made)
    return made


class Clock:
    """The time, which moves two seconds at each question."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        self.now += 2.0
        return self.now


async def test_a_release_that_is_proven_to_be_slower_goes_with_both_quantiles(clock: Clock) -> None:
    sign = Latency(Counted(_reading(10, 0, {SLOW: 10}), _reading(90, 0, {SLOW: 90})), BEFORE, 3.0)
    assert await sign.measure() == ""
    assert await sign.measure() == "it is slower: its median is at least 60 ms, that of the old release at most 11 ms"
    result = sign.result()
    assert result.verdict == "failed"
    assert (result.figures["p50_ms"], result.figures["old_p50_ms"]) == (60.0, 10.0)


async def test_the_first_second_is_not_judged_since_a_cold_cache_is_no_slow_model(clock: Clock) -> None:
    sign = Latency(Counted(_reading(90, 0, {SLOW: 90}), _reading(180, 0, {SLOW: 90, FAST: 90})), BEFORE, 3.0)
    assert [await sign.measure() for _ in range(2)] == ["", ""]


async def test_a_release_that_becomes_slow_late_is_seen_in_its_window(clock: Clock) -> None:
    fast = [_reading(count, 0, {FAST: count}) for count in range(1000, 9000, 1000)]
    late = [_reading(8000 + count, 0, {FAST: 8000, SLOW: count}) for count in range(100, 800, 100)]
    sign = Latency(Counted(*fast, *late), BEFORE, 3.0)
    said = [await sign.measure() for _ in range(15)]
    assert said[:8] == [""] * 8
    assert any("is at least 60 ms" in one for one in said[8:])


async def test_a_release_as_fast_as_the_one_before_has_passed(clock: Clock) -> None:
    sign = Latency(Counted(_reading(0), _reading(500, 0, {FAST: 500})), BEFORE, 3.0)
    assert [await sign.measure() for _ in range(2)] == ["", ""]
    assert (sign.result().verdict, sign.result().detail) == (
        "passed",
        "median 10.0 ms, that of the release before 10.0 ms",
    )


def test_the_release_before_is_known_by_its_last_readings() -> None:
    baseline = Baseline()
    baseline.add(1, _reading(1000, 5))
    baseline.add(1, _reading(2000, 5))
    assert baseline.of(1, _reading(3000, 9)) == Traffic(2000, 4)


def test_the_baseline_of_a_release_that_stands_by_again_stays_the_same() -> None:
    baseline = Baseline()
    baseline.add(1, _reading(1000))
    known = baseline.of(1, _reading(3000))
    baseline.add(2, _reading(500))
    assert baseline.of(1, _reading(3000)) == known


def test_the_baseline_of_a_release_that_serves_again_is_new() -> None:
    baseline = Baseline()
    baseline.add(1, _reading(1000))
    baseline.of(1, _reading(3000))
    baseline.add(1, _reading(4000))
    assert baseline.of(1, _reading(4500, 2)) == Traffic(500, 2)


def test_nothing_is_known_after_a_restart() -> None:
    assert Baseline().of(1, _reading(3000, 9)) == Traffic()
