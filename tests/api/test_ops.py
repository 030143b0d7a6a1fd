"""Health, readiness, metrics, the badge, a reload, a backup."""

import asyncio
import errno
import math
import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from prometheus_client import REGISTRY

from deployd.api.ops import _unseen, sweep_backups
from deployd.api.scrape import expect, figures_of
from deployd.domain import GateResult
from deployd.errors import ConfigError
from deployd.order.repository import Trouble
from deployd.status import Status
from tests.api.pushes import answered, pushed, troubled
from tests.desk import MAIN, REPO, A, B, Desk, config_of, settings


class Usage(NamedTuple):
    total: int
    used: int
    free: int


async def test_health_and_readiness(browser: httpx.AsyncClient) -> None:
    assert (await browser.get("/healthz")).json() == {"status": "ok"}
    assert (await browser.head("/healthz")).status_code == 200
    ready = await browser.get("/readyz")
    assert (ready.status_code, set(ready.json())) == (200, {"store", "engine", "gateway", "disk"})


def test_what_cannot_be_looked_at_is_told_with_its_apps_and_since_when() -> None:
    nine, ten = (datetime(2026, 11, 27, hour, tzinfo=UTC) for hour in (9, 10))
    troubled = {
        "rose": Trouble(nine, "away"),
        "lily": Trouble(ten, "no answer", "registry"),
        "iris": Trouble(nine, "away"),
        "moss": Trouble(ten, "refused"),
    }
    assert _unseen(troubled) == {
        "git": "warning: no look at the remote of iris, rose since 2026-11-27 09:00:00 UTC; "
        "of moss since 2026-11-27 10:00:00 UTC; see deployd status",
        "registry": "warning: no look at the model registry of lily since 2026-11-27 10:00:00 UTC; see deployd status",
    }
    assert _unseen({}) == {}


async def test_an_unavailable_part_makes_the_daemon_unready(daemon: Desk, browser: httpx.AsyncClient) -> None:
    daemon.target.parts = {"engine": "the engine does not answer", "gateway": "ok"}
    ready = await browser.get("/readyz")
    assert (ready.status_code, ready.json()["engine"]) == (503, "the engine does not answer")


@pytest.mark.slow
async def test_an_unavailable_remote_is_a_warning_and_webhooks_are_still_accepted(
    daemon: Desk, browser: httpx.AsyncClient
) -> None:
    daemon.source.away = True
    await pushed(daemon, A)
    async with asyncio.timeout(20):
        await troubled(daemon)
    trouble = daemon.scheduler.looks.trouble("iris")
    assert trouble is not None
    ready = await browser.get("/readyz")
    assert ready.status_code == 200
    since = f"{trouble.since:%Y-%m-%d %H:%M:%S} UTC"
    assert ready.json()["git"] == f"warning: no look at the remote of iris, rose since {since}; see deployd status"


@pytest.mark.slow
async def test_the_warning_ends_when_the_remote_is_back(daemon: Desk, browser: httpx.AsyncClient) -> None:
    daemon.source.away = True
    await pushed(daemon, A)
    async with asyncio.timeout(20):
        await troubled(daemon)
        daemon.source.away = False
        await answered(daemon)
        while not daemon.source.asked.empty():
            daemon.source.asked.get_nowait()
        daemon.scheduler.looks.ask(["iris"])
        await daemon.source.asked.get()  # the next look has begun: the one that went well is over
    assert "git" not in (await browser.get("/readyz")).json()


@pytest.mark.parametrize(
    ("free", "code", "begins"), [(2 << 30, 200, "ok"), (500 << 20, 200, "warning: "), (9, 503, "full")]
)
async def test_readiness_warns_before_the_disk_is_full(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, free: int, code: int, begins: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(1 << 40, 0, free))
    ready = await browser.get("/readyz")
    assert (ready.status_code, ready.json()["disk"][: len(begins)]) == (code, begins)


async def test_a_state_directory_that_cannot_be_written_makes_the_daemon_unready(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "utime", refused)
    ready = await browser.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["disk"].endswith("cannot be used: Read-only file system")


async def test_a_locked_database_makes_the_daemon_unready(
    daemon: Desk, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployd.store.database._BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(daemon.directory / "deployd.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ready = await browser.get("/readyz")
        other.execute("ROLLBACK")
    assert (ready.status_code, ready.json()["store"]) == (503, "the state cannot be written: database is locked")


@pytest.mark.slow
async def test_a_part_that_does_not_answer_is_named(
    daemon: Desk, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployd.api.readiness._TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(daemon.target, "ping", asyncio.Event().wait)
    monkeypatch.setattr(daemon.store, "ping", asyncio.Event().wait)
    parts = (await browser.get("/readyz")).json()
    assert {part for part, said in parts.items() if said.startswith("no answer within")} == {"store", "engine"}


async def test_metrics_show_queued_deploys_and_the_live_commit(daemon: Desk, browser: httpx.AsyncClient) -> None:
    await daemon.deployed(A)
    await daemon.scheduler.pause("iris", paused=True)
    daemon.source.remotes[REPO][MAIN] = B
    await browser.post("/api/v1/apps/iris/deploys")
    text = (await browser.get("/metrics")).text
    assert 'deployd_queue_depth{app="iris"} 1.0' in text
    assert f'deployd_live_info{{app="iris",commit="{A}"}} 1.0' in text
    assert 'deployd_deploys_total{app="iris",status="live"}' in text


async def test_the_series_of_an_app_are_there_before_anything_happens_so_that_its_first_failure_is_an_increase(
    browser: httpx.AsyncClient,
) -> None:
    expect(config_of(settings("newcomer")).app)
    text = (await browser.get("/metrics")).text
    for status in ("live", "failed", "superseded", "cancelled", "proven", "reverted"):
        assert f'deployd_deploys_total{{app="newcomer",status="{status}"}} 0.0' in text
    assert 'deployd_gates_total{app="newcomer",gate="ready",verdict="failed"} 0.0' in text
    assert 'deployd_requests_total{app="newcomer"} 0.0' in text


async def test_metrics_show_what_is_held_paused_and_under_way_and_the_disk(
    daemon: Desk, browser: httpx.AsyncClient
) -> None:
    live = await daemon.deployed(A)
    await daemon.scheduler.pause("rose", paused=True)
    text = (await browser.get("/metrics")).text
    assert 'deployd_paused{app="rose"} 1.0' in text
    assert 'deployd_held{app="iris"} 0.0' in text
    assert 'deployd_in_flight_seconds{app="iris"} 0.0' in text
    assert live.live_at is not None
    assert REGISTRY.get_sample_value("deployd_live_timestamp_seconds", {"app": "iris"}) == live.live_at.timestamp()
    free, size = (REGISTRY.get_sample_value(f"deployd_state_disk_{what}_bytes") for what in ("free", "size"))
    assert free is not None
    assert size is not None
    assert 0 < free < size


async def test_metrics_show_the_figures_of_the_live_release_s_gates(daemon: Desk, browser: httpx.AsyncClient) -> None:
    live = await daemon.deployed(A)
    figures = {"accuracy": 0.94, "n": 300, "data": "sha256:1", "live": {"accuracy": 0.9}, "same": True}
    await daemon.store.record_watch(live, [GateResult("evaluate", "passed", "", figures)])
    text = (await browser.get("/metrics")).text
    assert [line for line in text.splitlines() if line.startswith("deployd_gate_figure{")] == [
        f'deployd_gate_figure{{app="iris",figure="{figure}",gate="evaluate",moment="before"}} {value}'
        for figure, value in (("accuracy", 0.94), ("n", 300.0), ("live.accuracy", 0.9))
    ]


def test_the_figures_of_an_own_gate_are_limited() -> None:
    many = {f"figure {at} {'x' * 500}": at for at in range(1000)} | {"none": math.nan}
    found = list(figures_of([GateResult("own", "passed", "", many)]))
    assert len(found) == 100
    assert max(len(figure) for _, _, figure, _ in found) == 100


async def test_metrics_show_how_long_the_head_has_not_been_live(daemon: Desk, browser: httpx.AsyncClient) -> None:
    assert await _lag(browser, "iris") == 0
    daemon.builder.held[A] = asyncio.Event()
    await pushed(daemon, A)
    await daemon.becomes("iris", 1, Status.BUILDING)
    first, second = await _lag(browser, "iris"), await _lag(browser, "iris")
    assert first is not None
    assert second is not None
    assert 0 < first < second
    daemon.builder.held[A].set()
    for app in ("iris", "rose"):
        await daemon.becomes(app, 1, Status.LIVE)
    assert await _lag(browser, "iris") == 0
    daemon.next_config = config_of(settings("rose"))
    await browser.post("/api/v1/reload")
    assert (await _lag(browser, "iris"), await _lag(browser, "rose")) == (None, 0)


async def test_metrics_show_how_long_a_look_has_been_owed(daemon: Desk, browser: httpx.AsyncClient) -> None:
    daemon.source.away = True
    await pushed(daemon, A)
    first, second = await _lag(browser, "iris"), await _lag(browser, "iris")
    assert first is not None
    assert second is not None
    assert 0 < first < second
    assert await _lag(browser, "rose") == 0


async def _lag(browser: httpx.AsyncClient, app: str) -> float | None:
    await browser.get("/metrics")
    return REGISTRY.get_sample_value("deployd_head_lag_seconds", {"app": app})


async def test_a_report_that_waits_for_a_minute_is_a_warning_and_a_metric(
    daemon: Desk, browser: httpx.AsyncClient
) -> None:
    await daemon.store.subscribe({"github": [Status.LIVE]})
    await daemon.deployed(A)
    assert "reports" not in (await browser.get("/readyz")).json()
    await daemon.store._database.write(
        lambda connection: connection.execute("UPDATE outbox SET written_at = written_at - 90").rowcount
    )
    answer = await browser.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["reports"].startswith("warning: not told yet: 1 report to github since 20")
    metrics = (await browser.get("/metrics")).text
    assert 'deployd_reports_waiting{reporter="github"} 1.0' in metrics
    assert float(metrics.partition('deployd_reports_oldest_seconds{reporter="github"} ')[2].split()[0]) >= 90


async def test_the_badge_shows_the_state(daemon: Desk, browser: httpx.AsyncClient) -> None:
    badge = await browser.get("/apps/iris/badge.svg")
    assert (badge.headers["content-type"], "nothing live" in badge.text) == ("image/svg+xml", True)
    await daemon.deployed(A)
    assert "live aaaaaaa" in (await browser.get("/apps/iris/badge.svg")).text
    assert (await browser.get("/apps/nope/badge.svg")).status_code == 404


async def test_a_reload_uses_the_new_config(daemon: Desk, browser: httpx.AsyncClient) -> None:
    daemon.next_config = config_of(settings("iris", "lily"))
    assert (await browser.post("/api/v1/reload")).json() == {
        "apps": ["iris", "lily"],
        "needs_restart": [],
        "older_config": [],
        "restarting": [],
    }
    assert (await browser.get("/api/v1/apps/lily")).status_code == 200


async def test_a_reload_names_the_keys_that_need_a_restart(daemon: Desk, browser: httpx.AsyncClient) -> None:
    daemon.needs_restart = ["server.port", "registry"]
    assert (await browser.post("/api/v1/reload")).json()["needs_restart"] == ["server.port", "registry"]


async def test_a_wrong_config_is_refused_with_the_reason(daemon: Desk, browser: httpx.AsyncClient) -> None:
    async def broken() -> list[str]:
        raise ConfigError("config.toml: app.iris.prot: unknown key (did you mean port?)")

    daemon.services.reload = broken
    answer = await browser.post("/api/v1/reload")
    assert (answer.status_code, "did you mean port" in answer.json()["detail"]) == (422, True)


async def test_a_backup_is_a_complete_database(daemon: Desk, browser: httpx.AsyncClient, tmp_path: Path) -> None:
    await daemon.deployed(A)
    copy = tmp_path / "copy.db"
    copy.write_bytes((await browser.get("/api/v1/backup")).content)
    with sqlite3.connect(copy) as database:
        assert database.execute("SELECT sha, status FROM deploys").fetchall() == [(A, "live")]
    database.close()
    assert not list(daemon.directory.glob("*backup-*"))


def test_only_the_leftover_backups_of_a_killed_daemon_are_removed(tmp_path: Path) -> None:
    for directory in (".backup-k3x_9qzl", "backup-of-monday", "logs"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "deployd.db").touch()
    sweep_backups(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"backup-of-monday", "logs"}


async def test_the_index_lists_the_main_addresses(browser: httpx.AsyncClient) -> None:
    assert (await browser.get("/")).json()["apps"] == "/api/v1/apps"


async def test_a_prune_says_what_would_go_and_removes_it(daemon: Desk, browser: httpx.AsyncClient) -> None:
    first = await daemon.deployed(A)
    await daemon.deployed(B)
    await daemon.deployed("c" * 40)
    daemon.services.running.replace(config_of(settings("iris", "rose", retention={"images": 0})))
    assert first.image is not None
    name = first.image.full_name
    (planned,) = (await browser.post("/api/v1/prune", json={"app": "iris", "dry_run": True})).json()["pruned"]
    assert planned == {"what": "image", "name": name, "size": 10, "app": "iris", "gone": True, "note": ""}
    assert name in daemon.builder.images
    assert (await browser.post("/api/v1/prune")).json() == {"dry_run": False, "pruned": [planned]}
    assert name not in daemon.builder.images
    assert (await browser.post("/api/v1/prune")).json() == {"dry_run": False, "pruned": []}
    assert (await browser.post("/api/v1/prune", json={"app": "lily"})).status_code == 404


async def test_a_prune_removes_the_images_of_an_app_that_was_removed(daemon: Desk, browser: httpx.AsyncClient) -> None:
    deploy = await daemon.deployed(A)
    assert deploy.image is not None
    daemon.builder.used.add(deploy.image.full_name)
    daemon.services.running.replace(config_of(settings("rose")))
    assert (await browser.delete("/api/v1/apps/iris")).status_code == 204
    assert deploy.image.full_name in daemon.builder.images
    (stays,) = (await browser.post("/api/v1/prune")).json()["pruned"]
    assert (stays["gone"], stays["note"]) == (False, "the container a uses it")
    daemon.builder.used.clear()
    (gone,) = (await browser.post("/api/v1/prune")).json()["pruned"]
    assert (gone["gone"], gone["name"]) == (True, deploy.image.full_name)
    assert deploy.image.full_name not in daemon.builder.images
