"""The tables from which plots are drawn: durations, models over releases, traffic with its switches."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from deployd.api.pages.plots import Cell, durations, measured_of, metrics, milliseconds, per_second, percent, traffic
from deployd.api.states import PointAnswer, SwitchAnswer
from deployd.domain import Deploy, GateResult
from deployd.goal import Trigger
from deployd.status import Status

T = datetime(2026, 11, 26, 12, tzinfo=UTC)


def a_deploy(number: int, status: Status = Status.RETIRED, *, took: float | None = 30, **more: Any) -> Deploy:
    deploy = Deploy("iris", number, "a" * 40, "refs/heads/main", Trigger("push"), status, T, started_at=T)
    end = T + timedelta(seconds=took) if took is not None else None
    return structs.replace(deploy, live_at=end, **more)


def measured(number: int, **figures: Any) -> Deploy:
    return a_deploy(number, gates=(GateResult("evaluate", "passed", figures=figures),))


def test_deploys_are_drawn_from_the_oldest_on_in_the_tone_of_their_end() -> None:
    failed = structs.replace(a_deploy(2, Status.FAILED, took=None), finished_at=T + timedelta(seconds=90))
    plot = durations([a_deploy(3, Status.LIVE, took=60), failed, a_deploy(1)], T)
    assert plot is not None
    assert [(row.name, row.tone, row.said, row.cells[0]) for row in plot.rows] == [
        ("#1", "ok", "retired", Cell(30, "30 s")),
        ("#2", "bad", "failed", Cell(90, "90 s")),
        ("#3", "ok", "live", Cell(60, "60 s")),
    ]
    assert plot.summary == "How long deploys took, 3 deploys: took 30 s to 90 s, last 60 s"


def test_a_deploy_under_way_is_drawn_as_long_as_it_has_taken_and_one_that_waits_is_not() -> None:
    waits = structs.replace(a_deploy(2, Status.QUEUED, took=None), started_at=None)
    plot = durations([waits, a_deploy(1, Status.BUILDING, took=None)], T + timedelta(seconds=7))
    assert plot is not None
    assert [(row.name, row.cells[0].y) for row in plot.rows] == [("#1", 7.0)]
    assert durations([waits], T) is None


def test_shares_have_one_plot_and_each_other_metric_its_own() -> None:
    plots = metrics([measured(2, accuracy=0.94, f1=0.9, rmse=3.5, n=300), measured(1, accuracy=0.9, f1=0.8, rmse=4.5)])
    assert [(plot.title, plot.columns) for plot in plots] == [
        ("Measured of each release's model", ["accuracy", "f1"]),
        ("rmse of each release", ["rmse"]),
    ]
    assert [[cell.y for cell in row.cells] for row in plots[0].rows] == [[0.9, 0.8], [0.94, 0.9]]


def test_a_release_without_a_metric_leaves_a_gap_and_one_without_any_is_left_out() -> None:
    (plot,) = metrics([measured(3, accuracy=0.9, f1=0.8), a_deploy(2), measured(1, accuracy=0.7)])
    assert [(row.name, [cell.y for cell in row.cells]) for row in plot.rows] == [
        ("#1", [0.7, None]),
        ("#3", [0.9, 0.8]),
    ]


def test_metrics_of_the_evaluate_gate_override_those_of_the_manifest() -> None:
    deploy = structs.replace(measured(1, accuracy=0.9), model={"metrics": {"accuracy": 0.99, "loss": 0.1, "ok": True}})
    assert dict(measured_of(deploy)) == {"accuracy": 0.9, "loss": 0.1}


def test_a_model_may_say_its_metrics_below_model() -> None:
    deploy = structs.replace(a_deploy(1), model={"model": {"metrics": {"test": {"f1": 0.8}}}})
    assert dict(measured_of(deploy)) == {"test.f1": 0.8}


def test_without_a_metric_there_is_no_plot() -> None:
    assert metrics([a_deploy(1)]) == []


def test_traffic_is_drawn_with_its_switches_and_with_gaps_where_nobody_counted() -> None:
    counted = PointAnswer(
        at=T, requests=60, errors=3, refused=0, requests_per_second=1.0, error_rate=0.05, p50_ms=2.0, p95_ms=1500.0
    )
    silent = PointAnswer(at=T + timedelta(minutes=1))
    switches = [SwitchAnswer(at=T, number=7, commit="a" * 40)]
    requests, errors, latency = traffic([counted, silent], switches)
    assert [row.cells[0] for row in requests.rows] == [Cell(1.0, "1/s"), Cell(None, "not counted")]
    assert [row.cells[0] for row in errors.rows] == [Cell(5.0, "5 %"), Cell(None, "not counted")]
    assert requests.marks == [(int(T.timestamp()), "#7")]
    assert latency.rows[0].cells == [Cell(2.0, "2 ms"), Cell(1500.0, "1.5 s")]


def test_a_moment_has_its_seconds_where_there_are_some() -> None:
    points = [PointAnswer(at=T + timedelta(seconds=seconds)) for seconds in (0, 10)]
    assert [row.name for row in traffic(points, [])[0].rows] == ["26 Nov 12:00", "26 Nov 12:00:10"]


def test_a_stretch_without_requests_has_no_share_of_errors() -> None:
    idle = PointAnswer(at=T, requests=0, errors=0, refused=0, requests_per_second=0.0)
    _, errors, _ = traffic([idle], [])
    assert errors.rows[0].cells == [Cell(None, "no requests")]


@pytest.mark.parametrize(
    ("share", "told"),
    [(0.0, "0 %"), (0.0002, "0.02 %"), (0.123, "12 %"), (0.996, "100 %"), (1.0, "100 %"), (None, "–")],
)
def test_a_share_is_said_in_percent(share: float | None, told: str) -> None:
    assert percent(share) == told


@pytest.mark.parametrize(("rate", "told"), [(0.0, "0/s"), (0.31, "0.31/s"), (9.96, "10/s"), (12_345.6, "12,346/s")])
def test_a_rate_is_said_in_plain_digits(rate: float, told: str) -> None:
    assert per_second(rate) == told


@pytest.mark.parametrize(("found", "told"), [(0.8, "0.8 ms"), (12.0, "12 ms"), (1500.0, "1.5 s"), (None, "–")])
def test_a_duration_is_said_with_its_unit(found: float | None, told: str) -> None:
    assert milliseconds(found) == told
