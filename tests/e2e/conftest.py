"""Worlds on the real engine; what a world made is removed after its test, and its daemon's log is shown if the test failed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.bringup.engine import Engine
from tests.e2e.world import World, passing_world


@pytest.fixture
async def world(tmp_path: Path, docker_engine: Engine, base_images: object) -> AsyncIterator[World]:
    """A running world with the tiny app and nothing deployed yet."""
    async with passing_world(tmp_path, docker_engine) as made:
        yield made
