"""A whole daemon in this process tells a GitHub of its deploys, and takes up a changed config."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deployd.errors import ConfigError, Unavailable
from deployd.reporters.github_api import Wire
from deployd.status import Status
from tests.desk import A, B, Desk, config_of, desk, settings
from tests.reporters.fake_github import FakeGitHub
from tests.reporters.given import TOKEN


def _settings(hub: FakeGitHub, token: str) -> dict[str, Any]:
    made = settings(github={"api_url": hub.url, "report": "deployments", "token": f"env:{token}"})
    made["app"][0]["webhook"] = "127.0.0.1/acme/iris"
    return made


@asynccontextmanager
async def _reporting(directory: Path, data: dict[str, Any]) -> AsyncIterator[Desk]:
    async with desk(directory, data) as daemon:
        serving = asyncio.create_task(daemon.services.reporting.serve())
        yield daemon
        serving.cancel()
        await asyncio.wait({serving})


@pytest.fixture(autouse=True)
def _no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployd.reporters.github_login.Wire", partial(Wire, pace=0))


async def test_a_start_does_not_wait_for_a_disk_that_refuses_the_subscriptions_and_they_are_recorded_later(
    hub: FakeGitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RIGHT", TOKEN)
    monkeypatch.setattr("deployd.reporters.reporting._RETRY_SECONDS", 0.01)
    async with desk(tmp_path, _settings(hub, "RIGHT")) as daemon:
        reporting, subscribe = daemon.services.reporting, daemon.store.subscribe
        tries, recorded = 0, asyncio.Event()

        async def full(wanted: Mapping[str, Iterable[Status]]) -> None:
            nonlocal tries
            tries += 1
            if tries < 4:
                raise Unavailable("the disk is full")
            await subscribe(wanted)
            recorded.set()

        monkeypatch.setattr(daemon.store, "subscribe", full)
        await reporting.begin()
        serving = asyncio.create_task(reporting.serve())
        try:
            async with asyncio.timeout(10):
                await recorded.wait()
            await daemon.deployed(A)
            await hub.until("iris: success")
        finally:
            serving.cancel()
            await asyncio.wait({serving})
    assert caplog.text.count("Cannot record what is to be reported") == 1


async def test_a_deploy_is_shown_and_what_waited_for_a_right_token_is_told_after_a_reload(
    hub: FakeGitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRONG", "ghp_wrong")
    monkeypatch.setenv("RIGHT", TOKEN)
    async with _reporting(tmp_path, _settings(hub, "WRONG")) as daemon:
        reporting = daemon.services.reporting
        await daemon.deployed(A)
        async with asyncio.timeout(10):
            await hub.refused.wait()
        assert hub.deployments == {}
        assert [one.reporter for one, _ in await reporting.unsent()] == ["github"]
        daemon.services.running.tell_prepared(reporting.prepare, reporting.use)
        daemon.services.running.replace(config_of(_settings(hub, "RIGHT")))
        await hub.until("iris: success")
        await daemon.deployed(B)
        await hub.until("iris: inactive", "iris: success")


async def test_a_deploy_never_waits_for_a_github_that_does_not_answer(
    hub: FakeGitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RIGHT", TOKEN)
    hub.holding = "before"
    async with _reporting(tmp_path, _settings(hub, "RIGHT")) as daemon:
        assert (await daemon.deployed(A)).status is Status.LIVE
        assert (await daemon.deployed(B)).status is Status.LIVE
        await hub.held.wait()


async def test_a_token_that_is_not_there_is_an_error_of_the_config(hub: FakeGitHub, tmp_path: Path) -> None:
    async with desk(tmp_path) as daemon:
        with pytest.raises(ConfigError, match="NOT_THERE is not set"):
            daemon.services.reporting.prepare(config_of(_settings(hub, "NOT_THERE")))
