import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiodocker
import pytest
from aiohttp import ClientConnectionResetError

from deployd.bringup.engine import Engine
from deployd.engine import connect, containers, delete, inspect, translated
from deployd.errors import ConfigError, RolloutFailed, Unavailable
from tests.testbed.images import BUSYBOX


@pytest.fixture
async def nobody(tmp_path: Path) -> AsyncIterator[aiodocker.Docker]:
    """A client of an engine that is not there."""
    docker = connect(f"unix://{tmp_path}/docker.sock")
    yield docker
    await docker.close()


async def test_an_engine_that_does_not_answer_is_unavailable(nobody: aiodocker.Docker) -> None:
    for asking in (inspect(nobody, "x"), containers(nobody, {"a": "b"}), delete(nobody, "x")):
        with pytest.raises(Unavailable, match="looking around: "), translated("looking around", RolloutFailed):
            await asking


async def test_a_refusal_is_what_the_caller_says() -> None:
    with (
        pytest.raises(RolloutFailed, match="starting iris: no such image"),
        translated("starting iris", RolloutFailed),
    ):
        raise aiodocker.DockerError(404, "no such image")
    with pytest.raises(Unavailable), translated("starting iris"):
        raise aiodocker.DockerError(500, "no space left on device")


@pytest.mark.parametrize("error", [TimeoutError(), ConnectionRefusedError(), ClientConnectionResetError()])
async def test_a_connection_that_breaks_is_unavailable_whatever_was_asked(error: Exception) -> None:
    with pytest.raises(Unavailable, match="does not answer"), translated("starting iris", RolloutFailed):
        raise error


async def test_an_address_that_is_none_is_the_operator_s_to_correct() -> None:
    with pytest.raises(ConfigError, match="no Docker Engine"):
        connect("docker.sock")


@pytest.mark.engine
async def test_a_container_that_is_being_removed_already_is_waited_for(
    base_images: object, docker_engine: Engine
) -> None:
    docker = connect(docker_engine.url)
    try:
        made = await docker.containers.create({"Image": BUSYBOX, "Cmd": ["sleep", "1000"]})
        await made.start()
        await asyncio.gather(*(delete(docker, made.id) for _ in range(8)))
        assert await inspect(docker, made.id) is None
    finally:
        await docker.close()
