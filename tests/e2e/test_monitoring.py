"""A real Prometheus scrapes a real daemon: a first failure alerts, every query has an answer, requests are counted by release."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.load import Load
from deployd.status import Status
from tests.e2e.world import CONFIG, REST, WHO, World, passing_world
from tests.monitoring.rules import ALERTS, queries
from tests.testbed.prometheus import prometheus

pytestmark = [pytest.mark.engine, pytest.mark.slow]

TOKEN = "prometheus-token"
DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()
SCRAPED = CONFIG + f'[[auth.tokens]]\nname = "prometheus"\nrole = "read"\nsha256 = "{DIGEST}"\n'
BROKEN = "FROM python:3.11-slim-bookworm\nRUN exit 3\n"


@pytest.fixture
async def world(tmp_path: Path, docker_engine: Engine, base_images: object) -> AsyncIterator[World]:
    """A running world that Prometheus may scrape, with a first release."""
    async with passing_world(tmp_path, docker_engine, SCRAPED) as made:
        await made.ended(await made.push())
        yield made


async def _ask(url: str, path: str, **query: str) -> Any:
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        answer = await client.get(f"{url}/api/v1/{path}", params=query)
        assert answer.status_code == 200, (query, answer.text)
        return answer.json()["data"]


async def _has_scraped(url: str) -> None:
    while not (await _ask(url, "query", query='deployd_deploys_total{status="failed"}'))["result"]:  # noqa: ASYNC110
        await asyncio.sleep(0.2)


async def _fires(url: str, alert: str, app: str) -> dict[str, Any]:
    """The alert, once it fires for the app."""
    while True:
        for found in (await _ask(url, "alerts"))["alerts"]:
            if (found["labels"]["alertname"], found["labels"].get("app"), found["state"]) == (alert, app, "firing"):
                return dict(found)
        await asyncio.sleep(0.2)


async def _counted(world: World, number: int) -> dict[str, Any]:
    """What was counted for a release, once anything was."""
    while True:
        told = await world.client.traffic(world.app)
        for release in told.releases:
            if release.number == number and release.requests:
                return {"release": release, "switches": told.switches}
        await asyncio.sleep(0.5)


async def test_a_first_failure_alerts_and_every_query_of_the_dashboard_is_answered(world: World) -> None:
    address = world.daemon.url.removeprefix("http://")
    job = {
        "job_name": "deployd",
        "scrape_interval": "1s",
        "authorization": {"credentials": TOKEN},
        "static_configs": [{"targets": [address]}],
    }
    with prometheus(job, rules=ALERTS) as url:
        async with asyncio.timeout(90), Load(world.daemon.public_url, rest=REST).running(WHO, kept=1, fresh=1):
            await _has_scraped(url)
            second = await world.ended(await world.push())
            failed = await world.ended(await world.push(dockerfile=BROKEN))
            assert (second.status, failed.status) == (Status.LIVE, Status.FAILED)
            assert "failed" in (await _fires(url, "DeploydDeployFailed", world.app))["annotations"]["description"]
            told = await _counted(world, second.number)
        for query in queries():
            await _ask(url, "query", query=query)
        async with asyncio.timeout(30):  # what the API counts is scraped a second later
            while not (await _ask(url, "query", query="deployd_requests_total > 0"))["result"]:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    release = told["release"]
    assert (release.errors, release.error_rate) == (0, 0.0)
    assert 0 < release.p50_ms <= release.p95_ms < 1000
    assert [switch.number for switch in told["switches"]] == [1, second.number]
