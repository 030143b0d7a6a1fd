"""Worlds for fault tests: each can have its own config and environment, and leaves nothing on the engine."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from deployd.bringup.engine import Engine
from tests.e2e.world import CONFIG, World, world
from tests.faults.proxy import EngineProxy

MakeWorld = Callable[..., Awaitable[World]]


@pytest.fixture
async def make_world(tmp_path: Path, docker_engine: Engine, base_images: object) -> AsyncIterator[MakeWorld]:
    """Make the test's world and run its daemon; at the end show its log and remove all that it made."""
    made: list[World] = []
    try:
        async with AsyncExitStack() as stack:

            async def make(config: str = CONFIG, environment: Mapping[str, str] | None = None) -> World:
                here = await stack.enter_async_context(world(tmp_path, config, environment, docker_engine))
                made.append(here)
                return here

            yield make
    finally:
        for here in made:
            print(here.daemon.log.read_text()[-30_000:])
            here.daemon.remove_everything(docker_engine.api(timeout=60))


@pytest.fixture
async def proxy(tmp_path: Path, engine: str) -> AsyncIterator[EngineProxy]:
    """A socket in front of the engine; `proxy.environment` makes a daemon use it."""
    async with EngineProxy(tmp_path / "docker.sock", engine).running() as running:
        yield running
