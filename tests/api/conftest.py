"""A running daemon for the tests of its HTTP face."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.desk import Desk, desk, settings


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Desk]:
    """Two apps, iris and rose, no tokens."""
    async with desk(tmp_path, settings("iris", "rose")) as running:
        yield running


@pytest.fixture
async def browser(daemon: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """From this machine."""
    async with daemon.browser() as client:
        yield client
