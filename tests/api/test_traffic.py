"""The traffic of an app over HTTP: its stretches, its releases, its switches, and what is said where nobody counts."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from msgspec import structs

from deployd.api.traffic import NOT_COUNTED, NOT_YET, points_of, switches_of
from deployd.domain import Deploy
from deployd.goal import Trigger
from deployd.judge.traffic import Counters, Place, Reading
from deployd.samples import Counted, Sample
from deployd.status import Status
from tests.desk import A, B, Desk

APP = "/api/v1/apps/iris"
ADDRESS = "172.20.0.2:5000"
T = datetime(2026, 11, 26, 12, tzinfo=UTC)


def counted(requests: int, errors: int = 0) -> Counted:
    reading: Reading = {
        Place(7, "s1", ADDRESS): Counters(requests, requests, errors, latencies={2000: requests}),
        Place(7, "BACKEND", ""): Counters(attempts=requests),
    }
    return Counted(reading, {ADDRESS: 1})


async def asked(daemon: Desk, now: float, requests: int, errors: int = 0) -> None:
    """Requests come to iris, and the gateway is asked."""
    daemon.target.counts = {"iris": counted(requests, errors)}
    await daemon.sampler.sample(now)


async def test_the_traffic_is_told_by_stretch_by_release_and_with_the_switch(
    daemon: Desk, browser: httpx.AsyncClient
) -> None:
    await daemon.deployed(A)
    now = time.time()
    await asked(daemon, now - 10, 100)
    await asked(daemon, now, 140, 4)
    told = (await browser.get(f"{APP}/traffic")).json()
    assert (told["seconds"], told["not_counted"]) == (10, "")
    (point,) = [point for point in told["points"] if point["requests"]]
    assert (point["requests"], point["errors"], point["releases"]) == (40, 4, [1])
    assert (point["error_rate"], point["requests_per_second"], point["p95_ms"]) == (0.1, 4.0, 2.0)
    (release,) = told["releases"]
    assert (release["number"], release["requests"], release["error_rate"]) == (1, 40, 0.1)
    assert [(switch["number"], switch["commit"], switch["back"]) for switch in told["switches"]] == [(1, A, False)]


async def test_a_stretch_in_which_nobody_counted_has_no_figures(daemon: Desk, browser: httpx.AsyncClient) -> None:
    now = time.time()
    await asked(daemon, now - 10, 0)
    await asked(daemon, now, 0)
    points = (await browser.get(f"{APP}/traffic?last=1m")).json()["points"]
    assert [point["requests"] for point in points[:3]] == [None] * 3
    assert 0 in [point["requests"] for point in points]


async def test_a_week_is_told_in_stretches_of_ten_minutes(daemon: Desk, browser: httpx.AsyncClient) -> None:
    now = time.time()
    await asked(daemon, now - 10, 0)
    await asked(daemon, now, 30)
    told = (await browser.get(f"{APP}/traffic?last=7d")).json()
    assert told["seconds"] == 600
    assert sum(point["requests"] or 0 for point in told["points"]) == 30


async def test_an_app_shows_its_rates(daemon: Desk, browser: httpx.AsyncClient) -> None:
    now = time.time()
    await asked(daemon, now - 10, 0)
    await asked(daemon, now, 50, 5)
    told = (await browser.get(APP)).json()["traffic"]
    assert told == {"seconds": 10.0, "requests_per_second": 5.0, "error_rate": 0.1, "p95_ms": 2.0}


@pytest.mark.parametrize("last", ["8d", "5s", "soon", "", "1h ", "-1h"])
async def test_a_time_that_is_not_kept_is_refused_with_those_that_are(browser: httpx.AsyncClient, last: str) -> None:
    told = await browser.get(f"{APP}/traffic", params={"last": last})
    assert told.status_code == 422
    assert "last" in told.json()["detail"]


async def test_an_unknown_app_has_no_traffic(browser: httpx.AsyncClient) -> None:
    assert (await browser.get("/api/v1/apps/nobody/traffic")).status_code == 404


async def test_before_the_gateway_was_asked_twice_it_is_said_that_nothing_is_counted_yet(
    daemon: Desk, browser: httpx.AsyncClient
) -> None:
    await asked(daemon, time.time(), 100)
    told = (await browser.get(f"{APP}/traffic")).json()
    assert (told["points"], told["not_counted"]) == ([], NOT_YET)


async def test_on_kubernetes_it_is_said_that_nobody_counts(daemon: Desk, browser: httpx.AsyncClient) -> None:
    running = daemon.services.running
    apps = tuple(app.model_copy(update={"target": "kubernetes"}) for app in running.config.app)
    running.config = running.config.model_copy(update={"app": apps})
    told = (await browser.get(f"{APP}/traffic")).json()
    assert (told["points"], told["not_counted"]) == ([], NOT_COUNTED)
    assert (await browser.get(APP)).json()["traffic"] is None


def test_a_stretch_that_has_only_begun_is_left_out_until_somebody_has_counted_in_it() -> None:
    at = 1_000_000
    points = points_of(10, at, at + 25, [Sample("iris", 1, at + 10, 5)], {at: 10.0, at + 10: 10.0})
    assert [point.requests for point in points] == [0, 5]


def test_the_rate_of_a_stretch_is_that_of_the_time_in_which_somebody_counted() -> None:
    at = 1_000_200
    (point,) = points_of(600, at, at + 10, [Sample("iris", 1, at, 60)], {at: 30.0})
    assert point.requests_per_second == 2.0


def test_stretches_can_be_taken_together() -> None:
    at = 1_000_020
    samples = [Sample("iris", 1, at, 5), Sample("iris", 2, at + 10, 7), Sample("iris", 2, at + 60, 1)]
    points = points_of(60, at, at + 130, samples, {at: 10.0, at + 10: 10.0, at + 60: 10.0})
    assert [(point.requests, point.releases) for point in points] == [(12, [1, 2]), (1, [2])]
    assert points[0].requests_per_second == 0.6


def released(number: int, live: int, status: Status = Status.RETIRED, **more: Any) -> Deploy:
    trigger, ref = Trigger("push"), "refs/heads/main"
    deploy = Deploy("iris", number, B, ref, trigger, status, T, live_at=T + timedelta(minutes=live))
    return structs.replace(deploy, **more)


def test_a_rollback_and_a_return_are_switches_back() -> None:
    history = [
        released(4, 40, Status.LIVE, rollback_to=2),
        released(3, 20, Status.REVERTED, finished_at=T + timedelta(minutes=25)),
        released(2, 10),
        released(1, 0),
    ]
    told = [(switch.at, switch.number, switch.back) for switch in switches_of(history, T + timedelta(minutes=5))]
    assert told == [
        (T + timedelta(minutes=10), 2, False),
        (T + timedelta(minutes=20), 3, False),
        (T + timedelta(minutes=25), 2, True),
        (T + timedelta(minutes=40), 4, True),
    ]
