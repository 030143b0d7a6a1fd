"""Health, readiness, metrics, the badge, a reload, a backup."""

import shutil
import sqlite3
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from deployd.errors import ConfigError
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


async def test_a_part_that_is_away_makes_it_unready(daemon: Desk, browser: httpx.AsyncClient) -> None:
    daemon.target.parts = {"engine": "the engine does not answer", "gateway": "ok"}
    ready = await browser.get("/readyz")
    assert (ready.status_code, ready.json()["engine"]) == (503, "the engine does not answer")


@pytest.mark.parametrize(
    ("free", "code", "begins"), [(2 << 30, 200, "ok"), (500 << 20, 200, "warning: "), (9, 503, "full")]
)
async def test_a_disk_that_fills_is_told_before_it_is_full(
    browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, free: int, code: int, begins: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(1 << 40, 0, free))
    ready = await browser.get("/readyz")
    assert (ready.status_code, ready.json()["disk"][: len(begins)]) == (code, begins)


async def test_metrics_tell_what_waits_and_what_serves(daemon: Desk, browser: httpx.AsyncClient) -> None:
    await daemon.deployed(A)
    await daemon.scheduler.pause("iris", paused=True)
    daemon.source.remotes[REPO][MAIN] = B
    await browser.post("/api/v1/apps/iris/deploys")
    text = (await browser.get("/metrics")).text
    assert 'deployd_queue_depth{app="iris"} 1.0' in text
    assert f'deployd_live_info{{app="iris",commit="{A}"}} 1.0' in text
    assert 'deployd_deploys_total{app="iris",status="live"}' in text


async def test_the_badge_shows_the_state(daemon: Desk, browser: httpx.AsyncClient) -> None:
    badge = await browser.get("/apps/iris/badge.svg")
    assert (badge.headers["content-type"], "nothing live" in badge.text) == ("image/svg+xml", True)
    await daemon.deployed(A)
    assert "live aaaaaaa" in (await browser.get("/apps/iris/badge.svg")).text
    assert (await browser.get("/apps/nope/badge.svg")).status_code == 404


async def test_a_reload_takes_the_new_config(daemon: Desk, browser: httpx.AsyncClient) -> None:
    daemon.next_config = config_of(settings("iris", "lily"))
    assert (await browser.post("/api/v1/reload")).json() == {"apps": ["iris", "lily"], "needs_restart": []}
    assert (await browser.get("/api/v1/apps/lily")).status_code == 200


async def test_a_reload_names_what_takes_a_restart(daemon: Desk, browser: httpx.AsyncClient) -> None:
    daemon.needs_restart = ["server.port", "registry"]
    assert (await browser.post("/api/v1/reload")).json()["needs_restart"] == ["server.port", "registry"]


async def test_a_wrong_config_is_refused_with_the_reason(daemon: Desk, browser: httpx.AsyncClient) -> None:
    async def broken() -> list[str]:
        raise ConfigError("config.toml: app.iris.prot: unknown key (did you mean port?)")

    daemon.services.reload = broken
    answer = await browser.post("/api/v1/reload")
    assert (answer.status_code, "did you mean port" in answer.json()["detail"]) == (422, True)


async def test_a_backup_is_a_whole_database(daemon: Desk, browser: httpx.AsyncClient, tmp_path: Path) -> None:
    await daemon.deployed(A)
    copy = tmp_path / "copy.db"
    copy.write_bytes((await browser.get("/api/v1/backup")).content)
    with sqlite3.connect(copy) as database:
        assert database.execute("SELECT sha, status FROM deploys").fetchall() == [(A, "live")]
    database.close()
    assert not list(daemon.directory.glob("backup-*"))


async def test_the_index_says_where_things_are(browser: httpx.AsyncClient) -> None:
    assert (await browser.get("/")).json()["apps"] == "/api/v1/apps"
