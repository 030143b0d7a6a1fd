"""A running daemon, and a client of its HTTP API."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import uvloop

from tests.desk import Desk, desk, settings


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The daemon runs on uvloop, which closes and half-closes connections in its own way."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Desk]:
    """Two apps, iris and rose, no tokens."""
    async with desk(tmp_path, settings("iris", "rose")) as running:
        yield running


@pytest.fixture
async def browser(daemon: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client that sends requests through the Unix socket."""
    async with daemon.browser() as client:
        yield client


@pytest.fixture
async def client(daemon: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client over a real connection, for what is streamed."""
    async with daemon.listening() as url:
        transport = httpx.AsyncHTTPTransport(uds=url.removeprefix("unix://"))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=20) as connected:
            yield connected
