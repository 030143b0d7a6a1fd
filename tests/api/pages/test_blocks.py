"""The blocks of an app's page as HTML: what runs, the traffic, and what is said where nobody counts or nobody can tell."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest

from deployd.config.app import App
from deployd.errors import Unavailable
from deployd.judge.traffic import Counters, Place
from deployd.samples import FINE, Counted, Sample
from tests.api.pages.given import HEADERS
from tests.desk import A, Desk

POD: Mapping[str, Any] = {
    "name": "iris-7d4f",
    "phase": "Running",
    "ready": False,
    "restarts": 4,
    "node": "worker-1",
    "troubles": ["CrashLoopBackOff"],
}


@pytest.fixture
async def reader(daemon: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that may do everything."""
    async with daemon.browser(**HEADERS) as client:
        yield client


async def _text(reader: httpx.AsyncClient, path: str = "/apps/iris") -> str:
    """The page without its tags, with single spaces."""
    page = (await reader.get(path)).text
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def _describes(daemon: Desk, monkeypatch: pytest.MonkeyPatch, found: Mapping[str, Any] | Unavailable) -> None:
    async def describe(app: App) -> Mapping[str, Any]:
        if isinstance(found, Unavailable):
            raise found
        return found

    monkeypatch.setattr(daemon.target, "describe", describe)


async def test_the_running_containers_are_shown_and_which_of_them_serves(
    daemon: Desk, reader: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = {
        "name": "deployd-iris-2",
        "deploy": 2,
        "status": "running",
        "restarts": 1,
        "requests_in_progress": 3,
        "started_at": "2026-11-26T12:00:00.123Z",
        "address": "172.20.0.3:5000",
    }
    _describes(daemon, monkeypatch, {"serving": 2, "containers": [container]})
    assert "deployd-iris-2 #2 serves running 3 1 2026-11-26 12:00:00 UTC 172.20.0.3:5000" in await _text(reader)


async def test_the_pods_are_shown_with_what_is_wrong_with_them(
    daemon: Desk, reader: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    _describes(daemon, monkeypatch, {"rollout": "in progress", "condition": "", "pods": [POD]})
    text = await _text(reader)
    assert "Rollout in progress." in text
    assert "iris-7d4f Running no 4 worker-1 CrashLoopBackOff" in text


async def test_an_engine_that_is_away_is_said_where_the_containers_would_be(
    daemon: Desk, reader: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    _describes(daemon, monkeypatch, Unavailable("the engine does not answer"))
    assert "What runs cannot be said: the engine does not answer" in await _text(reader)


async def test_a_target_that_does_not_answer_keeps_no_page_from_being_drawn(
    daemon: Desk, reader: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployd.api.pages.blocks._PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(daemon.target, "describe", lambda _app: asyncio.Event().wait())
    assert "What runs cannot be said: no answer within 0 s" in await _text(reader)


async def test_the_data_of_a_page_is_gathered_once_for_many_readers_and_again_after_a_deploy(
    daemon: Desk, reader: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def describe(app: App) -> Mapping[str, Any]:
        asked.append(app.name)
        return {}

    monkeypatch.setattr(daemon.target, "describe", describe)
    for _ in range(3):
        await reader.get("/apps/iris", headers={"HX-Request": "true"})
    assert asked == ["iris"]
    await daemon.deployed(A)
    text = (await reader.get("/apps/iris", headers={"HX-Request": "true"})).text
    assert asked == ["iris", "iris"]
    assert "How long deploys took" in text


async def test_the_traffic_of_each_release_is_shown_before_and_after_its_switch(
    daemon: Desk, reader: httpx.AsyncClient
) -> None:
    await daemon.deployed(A)
    at = FINE.stretch(time.time() - 120)
    samples = [Sample("iris", 1, at, 1200, 12, 3, {2000: 1200}), Sample("iris", 0, at, 4, 4)]
    await daemon.store.record_traffic(samples, {at: 10.0})
    text = await _text(reader)
    assert "just now 1,200 1 % (12) 3 2 ms 2 ms" in text
    assert "reached none 4 100 % (4) 0 – –" in text


async def test_on_kubernetes_it_is_said_who_counts_instead(daemon: Desk, reader: httpx.AsyncClient) -> None:
    running = daemon.services.running
    apps = tuple(app.model_copy(update={"target": "kubernetes"}) for app in running.config.app)
    running.config = running.config.model_copy(update={"app": apps})
    daemon.services.targets = {"kubernetes": daemon.target}
    text = await _text(reader)
    assert "Nothing is counted: on kubernetes" not in text
    assert "Nothing is counted: on Kubernetes no gateway of deployd is in the path of the requests." in text


async def test_the_first_page_shows_how_each_app_is_asked(daemon: Desk, reader: httpx.AsyncClient) -> None:
    now = time.time()
    for tick, requests in enumerate((0, 120)):
        here = {Place(7, "s1", "172.20.0.2:5000"): Counters(requests, requests, requests // 60)}
        daemon.target.counts = {"iris": Counted({**here, Place(7, "BACKEND", ""): Counters(requests)}, {})}
        await daemon.sampler.sample(now + 10 * tick)
    text = await _text(reader, "/")
    assert "12/s, 1.7 % errors" in text
    assert text.count(" errors") == 1
