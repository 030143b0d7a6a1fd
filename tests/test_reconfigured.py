"""What a changed config brings about by itself, and what it only tells: the whole daemon in this process, with fakes outside."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployd.domain import Deploy
from deployd.errors import ConfigError
from deployd.goal import Trigger
from deployd.status import Status
from tests.desk import MAIN, REPO, A, B, Desk, config_of, desk, settings

APP = "/api/v1/apps/iris"


def _settings(**app: Any) -> dict[str, Any]:
    made = settings("iris")
    made["app"][0] |= app
    return made


async def _reloaded(daemon: Desk, **app: Any) -> dict[str, Any]:
    daemon.next_config = config_of(_settings(**app))
    async with daemon.browser() as browser:
        answer: dict[str, Any] = (await browser.post("/api/v1/reload")).json()
        return answer


async def _older(daemon: Desk) -> bool:
    async with daemon.browser() as browser:
        return bool((await browser.get(APP)).json()["older_config"])


async def test_a_changed_config_is_told_until_a_restart_rolls_it_out(tmp_path: Path) -> None:
    async with desk(tmp_path, _settings()) as daemon, daemon.browser() as browser:
        await daemon.deployed(A)
        told = await _reloaded(daemon, docker={"env": {"MODE": "fast"}})
        assert (told["older_config"], told["restarting"]) == (["iris"], [])
        assert await _older(daemon)
        answer = await browser.post(f"{APP}/restart")
        assert (answer.status_code, answer.json()["trigger"]["kind"]) == (202, "restart")
        deploy = await daemon.becomes("iris", 2, Status.LIVE)
        assert (deploy.commit, deploy.trigger.kind, deploy.trigger.by is not None) == (A, "restart", True)
        assert "fetch" not in [step.name for step in deploy.steps]
        assert not await _older(daemon)


async def test_an_app_that_wants_it_is_restarted_at_a_reload(tmp_path: Path) -> None:
    async with desk(tmp_path, _settings(on_config_change="restart")) as daemon:
        await daemon.deployed(A)
        told = await _reloaded(daemon, on_config_change="restart", docker={"env": {"MODE": "fast"}})
        assert (told["older_config"], told["restarting"]) == ([], ["iris"])
        deploy = await daemon.becomes("iris", 2, Status.LIVE)
        assert (deploy.commit, deploy.trigger) == (A, Trigger("restart"))
        await _reloaded(daemon, on_config_change="restart", docker={"env": {"MODE": "fast"}})
        assert [one.number for one in await daemon.store.deploys("iris")] == [2, 1]


async def test_an_app_that_wants_it_is_restarted_at_a_start(tmp_path: Path) -> None:
    async with desk(tmp_path, _settings()) as daemon:
        await daemon.deployed(A)
    changed = _settings(on_config_change="restart", docker={"env": {"MODE": "fast"}})
    async with desk(tmp_path, changed) as daemon:
        daemon.target.live["iris"] = 1
        assert (await daemon.becomes("iris", 2, Status.LIVE)).trigger == Trigger("restart")


async def test_a_restart_is_refused_without_a_release_and_beside_another_deploy(tmp_path: Path) -> None:
    async with desk(tmp_path, _settings()) as daemon, daemon.browser() as browser:
        answer = await browser.post(f"{APP}/restart")
        assert (answer.status_code, answer.json()["detail"]) == (409, "iris has no live release")
        await daemon.deployed(A)
        daemon.builder.held[B] = asyncio.Event()
        daemon.source.remotes[REPO][MAIN] = B
        await browser.post(f"{APP}/deploys")
        await daemon.becomes("iris", 2, Status.BUILDING)
        answer = await browser.post(f"{APP}/restart")
        assert answer.status_code == 409
        assert answer.json()["detail"] == "a deploy of iris is queued or in flight: it brings the current config too"


async def _fails_for(daemon: Desk, browser: httpx.AsyncClient, trouble: Exception) -> Deploy:
    """The next head fails with that error."""
    daemon.target.trouble = trouble
    daemon.source.remotes[REPO][MAIN] = B
    daemon.scheduler.looks.ask(["iris"])
    return await daemon.becomes("iris", 2, Status.FAILED)


@pytest.mark.parametrize("again", ["reload", "start"])
async def test_a_head_that_failed_for_a_missing_secret_is_tried_again_once_that_is_there(
    tmp_path: Path, again: str
) -> None:
    async with desk(tmp_path, _settings()) as daemon, daemon.browser() as browser:
        await daemon.deployed(A)
        failed = await _fails_for(daemon, browser, ConfigError("app.iris.docker.env_secrets.TOKEN: TOKEN is not set"))
        assert failed.config_fault
        daemon.target.trouble = None
        if again == "reload":
            await _reloaded(daemon)
            assert (await daemon.becomes("iris", 3, Status.LIVE)).commit == B
    if again == "start":
        async with desk(tmp_path, _settings()) as daemon:
            daemon.target.live["iris"] = 1
            assert (await daemon.becomes("iris", 3, Status.LIVE)).commit == B
