"""A store whose outbox is told to a fake GitHub."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from deployd.events import Events
from deployd.reporters.github import GitHubReporter
from deployd.reporters.github_api import GitHubApi, PersonalToken, Wire
from deployd.reporters.sender import Sender
from deployd.store.database import Database
from deployd.store.store import Store
from tests.conftest import needed
from tests.reporters.fake_github import FakeGitHub, fake_github
from tests.reporters.given import TOKEN, running
from tests.testbed import github_description


@pytest.fixture
async def hub() -> AsyncIterator[FakeGitHub]:
    """A GitHub on loopback."""
    needed(github_description.ensure)
    async with fake_github() as serving:
        yield serving


@pytest.fixture
async def events() -> Events:
    """The events of the store."""
    return Events()


@pytest.fixture
async def store(tmp_path: Path, events: Events) -> AsyncIterator[Store]:
    """An empty store."""
    async with Database(tmp_path / "db") as database:
        yield Store(database, events)


@asynccontextmanager
async def sender_to(
    hub: FakeGitHub,
    store: Store,
    events: Events,
    how: str = "deployments",
    *,
    checks: bool = False,
    token: str = TOKEN,
    **more: Any,
) -> AsyncIterator[Sender]:
    """A sender to the fake, as the config says; it sends when it is told to step."""
    config = running(hub.url, how, **more)
    api = GitHubApi(Wire(hub.url, pace=0), PersonalToken(token))
    way = config.config.github.report
    assert way != "off"
    reporter = GitHubReporter(config, store, api, way, checks=checks)
    await store.subscribe({reporter.name: reporter.statuses})
    try:
        yield Sender(reporter, store, events)
    finally:
        await reporter.close()


async def send_all(sender: Sender) -> float | None:
    """Send what waits, until there is a pause; how long that is."""
    while True:
        pause, _ = await sender.step()
        if pause != 0.0:
            return pause
