"""A DockerTarget of the test's own, on a real engine, with its own gateway; nothing of it is left at the end."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deployd.bringup.engine import Engine
from deployd.config.daemon import GatewaySection
from deployd.domain import Image
from deployd.targets.docker.target import DockerTarget
from tests.fakes import FakeMade
from tests.targets.docker import world
from tests.testbed import instance_network


@pytest.fixture(scope="session")
def web(base_images: Engine) -> Iterator[Image]:
    """The image of every release in these tests."""
    image = world.build(base_images, world.NAME)  # another run on this engine removes its own
    yield image
    base_images.api().delete(f"/images/{image.reference}?force=1")


@pytest.fixture
def section() -> GatewaySection:
    """The gateway's settings; a test that wants others overrides this."""
    return GatewaySection(bind="127.0.0.1")


@pytest.fixture
async def target(
    docker_engine: Engine, instance: str, web: Image, section: GatewaySection, tmp_path: Path
) -> AsyncIterator[DockerTarget]:
    """A target that has deployed nothing yet."""
    instance_network.make(docker_engine.api(), instance)
    async with DockerTarget(instance, section, tmp_path / "gateway", FakeMade(), docker_engine.url) as target:
        yield target
