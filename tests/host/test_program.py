"""Programs of the operator's: what they are given, what bounds them, and that nothing which they start outlives them."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployd.host.program import NOT_FOUND, NOT_RUN, PATH, Ended, run
from tests.host.test_child import runs

MIB = 1024**2
DETACHED = "python3 -c 'import os, time; os.setsid(); os.fork() and os._exit(0); print(os.getpid(), flush=True); time.sleep(600)'"


class Told:
    """What a program printed."""

    def __init__(self) -> None:
        self.text = ""
        self.first = asyncio.Event()

    def __call__(self, text: str) -> None:
        self.text += text
        self.first.set()


async def _run(
    *command: str, timeout: float = 30, memory: int = 512 * MIB, told: Told | None = None, **environment: str
) -> Ended:
    return await run(command, environment, timeout=timeout, memory=memory, tell=told or Told())


async def _sh(script: str, **more: object) -> Ended:
    return await _run("sh", "-c", script, **more)  # type: ignore[arg-type]


async def _ends(pid: int) -> None:
    async with asyncio.timeout(10):
        while runs(pid):  # noqa: ASYNC110 - no event tells of a stranger's end
            await asyncio.sleep(0.01)


async def test_it_has_a_path_a_home_of_its_own_what_it_is_given_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEPLOYD_WEBHOOK_SECRET", "s3cret")
    told = Told()
    ended = await _sh("env | sort; pwd; echo $HOME", told=told, DEPLOYD_APP="iris")
    assert ended.code == 0
    *variables, here, home = ended.stdout.splitlines()
    assert {line.partition("=")[0] for line in variables} <= {"DEPLOYD_APP", "HOME", "LANG", "PATH", "PWD", "TMPDIR"}
    assert f"PATH={PATH}" in variables
    assert here == home
    assert not await asyncio.to_thread(Path(home).exists)
    assert told.text == ended.stdout


@pytest.mark.parametrize(
    ("command", "code"),
    [(("sh", "-c", "exit 3"), 3), (("sh", "-c", "kill -9 $$"), 137), (("/nowhere",), NOT_FOUND), (("/etc",), NOT_RUN)],
)
async def test_its_exit_code_is_told_as_a_shell_tells_it(command: tuple[str, ...], code: int) -> None:
    ended = await _run(*command)
    assert ended.code == code
    assert code not in {NOT_FOUND, NOT_RUN} or ended.stderr.startswith(f"cannot run {command[0]}: ")


async def test_a_detached_process_is_killed_when_the_program_has_ended() -> None:
    ended = await _sh(f"{DETACHED} & sleep 0.3; echo done", timeout=20)
    pid, done = ended.stdout.split()
    assert (ended.code, done) == (0, "done")
    await _ends(int(pid))


@pytest.mark.slow
async def test_it_is_killed_with_all_that_it_started_when_its_time_is_up_and_its_output_is_kept() -> None:
    began = time.monotonic()
    ended = await _sh(f"trap '' TERM; {DETACHED} & sleep 600", timeout=0.6)
    assert ended.code is None
    assert time.monotonic() - began < 5
    await _ends(int(ended.stdout))


async def test_it_is_killed_when_its_caller_is_cancelled() -> None:
    told = Told()
    work = asyncio.create_task(_sh(f"trap '' TERM; {DETACHED} & sleep 600", told=told))
    await told.first.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await _ends(int(told.text))


@pytest.mark.slow
async def test_it_ends_when_the_daemon_is_killed(tmp_path: Path) -> None:
    """kill -9 leaves nobody who could clean up: the program's own guard does."""
    script = (
        "import asyncio\nfrom deployd.host.program import run\n"
        f"asyncio.run(run(['sh', '-c', \"{DETACHED.replace(chr(34), '')} & sleep 600\"], {{}}, timeout=600, "
        "memory=2**30, tell=lambda text: print(text, end='', flush=True)))"
    )
    daemon = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert daemon.stdout is not None
    pid = int(await asyncio.to_thread(daemon.stdout.readline))
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    daemon.stdout.close()
    await _ends(pid)


async def test_one_process_gets_no_more_memory_than_is_allowed() -> None:
    ended = await _run("python3", "-c", "x = bytearray(200 * 2**20)", memory=64 * MIB)
    assert ended.code == 1
    assert "MemoryError" in ended.stderr


@pytest.mark.slow
async def test_several_processes_get_no_more_memory_together() -> None:
    hog = "python3 -c 'x = b\"1\" * (40 * 2**20); import time; time.sleep(600)'"
    ended = await _sh(f"{hog} & {hog} & {hog} & wait", memory=100 * MIB)
    assert ended.code == 137
    assert ended.stderr.splitlines()[-1].startswith("killed: it used 1")


async def test_much_output_is_cut_and_its_end_is_kept() -> None:
    told = Told()
    ended = await _sh("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the end", told=told)
    assert ended.code == 0
    assert ended.stdout.endswith("\nthe end\n")
    assert len(told.text) < 1_200_000
    assert told.text.endswith("(more output is left out)\n")


async def test_no_process_is_left_waiting_for_its_exit_code() -> None:
    await _sh("true")
    assert "Z" not in _states_of_children()


def _states_of_children() -> list[str]:
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in children]
