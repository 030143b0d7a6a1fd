import asyncio
from collections.abc import AsyncIterator

import pytest

from deployd.engine.client import EngineClient
from deployd.engine.connection import Refused
from tests.testbed.images import BUSYBOX

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("base_images")]


@pytest.fixture
async def there(engine: str) -> AsyncIterator[EngineClient]:
    async with EngineClient(engine) as there:
        yield there


@pytest.fixture
async def made(there: EngineClient, instance: str) -> AsyncIterator[str]:
    """A container that prints two lines and sleeps; not started."""
    command = ["sh", "-c", "echo one; echo two >&2; exec sleep 1000"]
    spec = {"Image": BUSYBOX, "Cmd": command, "Labels": {"deployd-test": instance}, "WorkingDir": "/etc"}
    made = await there.containers.create(f"deployd-test-{instance}", spec)
    yield made
    await there.containers.remove(made)


async def test_a_container_from_its_creation_to_its_end(there: EngineClient, made: str, instance: str) -> None:
    containers = there.containers
    await containers.start(made)
    await containers.start(made)
    [listed] = await containers.list({"deployd-test": instance}, status="running")
    assert listed["Id"] == made
    await containers.update(made, {"RestartPolicy": {"Name": "always"}})
    await containers.update(made, {"RestartPolicy": {"Name": "no"}})
    await containers.rename(made, f"deployd-test-{instance}-b")
    printing = containers.printing(made)
    async with asyncio.timeout(10):
        assert sorted([await anext(printing), await anext(printing)]) == ["one\n", "two\n"]
        await containers.kill(made, "SIGKILL")
        await containers.until_ended(made)
        assert [piece async for piece in printing] == []
    assert await containers.printed(made, 1) in {"one\n", "two\n"}
    found = await containers.inspect(f"deployd-test-{instance}-b")
    assert found is not None
    assert found["State"]["ExitCode"] == 137
    await containers.stop(made, 1)


async def test_a_command_in_a_container_returns_its_output_and_exit_code(there: EngineClient, made: str) -> None:
    await there.containers.start(made)
    said = bytearray()

    async def out(data: bytes) -> None:
        said.extend(data)

    assert await there.containers.execute(made, ["sh", "-c", "pwd; exit 3"], out) == 3
    assert said == b"/etc\n"


async def test_a_file_of_a_container_is_read_and_a_directory_is_none(there: EngineClient, made: str) -> None:
    assert b"root" in (await there.containers.read(made, "/etc/passwd") or b"")
    assert await there.containers.read(made, "/etc") is None
    assert await there.containers.read(made, "/nowhere") is None


async def test_a_container_that_is_being_removed_already_is_waited_for(there: EngineClient, made: str) -> None:
    await there.containers.start(made)
    await asyncio.gather(*(there.containers.remove(made) for _ in range(8)))
    assert await there.containers.inspect(made) is None


async def test_a_name_in_use_and_a_missing_image_have_different_statuses(
    there: EngineClient, made: str, instance: str
) -> None:
    with pytest.raises(Refused) as taken:
        await there.containers.create(f"deployd-test-{instance}", {"Image": BUSYBOX})
    assert taken.value.status == 409
    with pytest.raises(Refused) as missing:
        await there.containers.create(f"deployd-test-{instance}-c", {"Image": "deployd-test/nowhere:none"})
    assert missing.value.status == 404
