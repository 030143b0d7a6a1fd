import asyncio
import os
import signal
import threading
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from deployd.host.child import Child


async def started(script: str, directory: Path, given: bytes = b"", limit: int = 65536) -> Child:
    with TemporaryFile() as stdin:
        stdin.write(given)
        stdin.seek(0)
        environment = {"PATH": os.environ["PATH"], "NAME": "iris"}
        command = ["sh", "-c", script]
        return await Child.start(command, stdin=stdin, environment=environment, directory=directory, limit=limit)


def runs(pid: int) -> bool:
    """Whether there is such a process, and more of it than its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_a_child_gives_its_outputs_and_its_exit_code(tmp_path: Path) -> None:
    child = await started("cat; echo $NAME; pwd; echo oh >&2; exit 3", tmp_path, b"given\n")
    assert await child.stdout.read() == f"given\niris\n{tmp_path}\n".encode()
    assert await child.stderr.read() == b"oh\n"
    assert await child.wait() == 3
    assert child.returncode == 3
    await child.close()


async def test_a_child_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    child = await started("sleep 1000 & echo $!; exec sleep 1000", tmp_path)
    grandchild = int(await child.stdout.readline())
    assert child.returncode is None
    child.kill(signal.SIGKILL)
    assert await child.wait() == -signal.SIGKILL
    assert await child.stdout.read() == b""  # nobody holds its end of the pipe any more
    async with asyncio.timeout(10):
        while runs(grandchild):  # noqa: ASYNC110 - the kernel closes its pipes before it says that it has ended
            await asyncio.sleep(0.01)
    child.kill(signal.SIGKILL)
    await child.close()


async def test_more_output_than_the_limit_waits_in_the_child(tmp_path: Path) -> None:
    child = await started("head -c 4000000 /dev/zero", tmp_path, limit=1024)
    assert len(await child.stdout.readexactly(10)) == 10
    assert child.returncode is None
    assert len(await child.stdout.read()) == 4_000_000 - 10
    assert await child.wait() == 0
    await child.close()


async def test_a_wait_that_is_cancelled_ends_no_other_wait(tmp_path: Path) -> None:
    child = await started("exec sleep 1000", tmp_path)
    waiting = asyncio.create_task(child.wait())
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    child.kill(signal.SIGTERM)
    assert await child.wait() == -signal.SIGTERM
    await child.close()


async def test_a_start_that_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    starting = asyncio.create_task(started("exec sleep 1000", tmp_path))
    await asyncio.sleep(0)
    (watching,) = [one for one in threading.enumerate() if one.name.startswith("wait for ")]
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not runs(int(watching.name.split()[-1]))


async def test_a_command_that_is_not_there_is_told(tmp_path: Path) -> None:
    with TemporaryFile() as stdin, pytest.raises(FileNotFoundError):
        await Child.start(["/nowhere/git"], stdin=stdin, environment={}, directory=tmp_path, limit=1)
