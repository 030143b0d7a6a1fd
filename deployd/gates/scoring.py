"""The process that computes metrics (`score.py`): starts it, asks it line by line, ends it. It gets no secret of the daemon."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from deployd.errors import RolloutFailed
from deployd.host.child import Child
from deployd.tasks import uninterrupted

_PROGRAM = Path(__file__).with_name("score.py")
_SECONDS = 60.0
_LONGEST_ANSWER = 16 * 1024 * 1024
# One thread: beside the candidate's start, more only get in each other's way.
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class Scoring:
    """A process that computes metrics; `scoring` makes it."""

    def __init__(self, child: Child, stdin: int, python: str) -> None:
        self.pid = child.pid
        self._child = child
        self._stdin = stdin
        self._python = python
        self._ready = False

    async def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """The answer to one message. RolloutFailed when the process cannot give one."""
        try:
            async with asyncio.timeout(_SECONDS):
                if not self._ready:
                    await self._line()
                    self._ready = True
                await uninterrupted(asyncio.to_thread(self._write, json.dumps(message).encode() + b"\n"))
                return await self._line()
        except TimeoutError as exc:
            raise RolloutFailed(f"the metrics are not computed within {_SECONDS:g} s") from exc
        except BrokenPipeError as exc:
            raise await self._ended() from exc

    async def _line(self) -> dict[str, Any]:
        line = await self._child.stdout.readline()
        if not line.endswith(b"\n"):
            raise await self._ended()
        found: dict[str, Any] = json.loads(line)
        return found

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._stdin, data) :]

    async def _ended(self) -> RolloutFailed:
        last = (await self._child.stderr.read()).decode(errors="replace").strip().splitlines()[-1:]
        hint = f"install scikit-learn for {self._python}, or name another Python in app.evaluate.python"
        return RolloutFailed(f"the metrics cannot be computed: {last[0] if last else 'the process ended'}", hint=hint)


@asynccontextmanager
async def scoring(python: str | None) -> AsyncIterator[Scoring]:
    """A process that gets ready while the block does something else, and is killed with the block."""
    python = python or sys.executable
    read, write = os.pipe()
    try:
        child = await _started(python, read)
    except BaseException:
        os.close(write)
        raise
    try:
        yield Scoring(child, write, python)
    finally:
        os.close(write)
        child.kill(signal.SIGKILL)
        await uninterrupted(child.close())


async def unable(python: str | None) -> str:
    """Why that Python cannot compute metrics; empty when it can."""
    try:
        async with scoring(python) as found:
            await found.ask({"expected": [], "slices": {}, "metrics": [], "numeric": False})
    except RolloutFailed as exc:
        return exc.message
    return ""


async def _started(python: str, stdin: int) -> Child:
    with open(stdin, "rb") as source:  # noqa: ASYNC230 - it is open already
        try:
            return await Child.start(
                [python, "-I", str(_PROGRAM)],
                stdin=source,
                environment=_ENVIRONMENT,
                directory=Path("/"),
                limit=_LONGEST_ANSWER,
            )
        except OSError as exc:
            raise RolloutFailed(
                f"{python} cannot be started: {exc.strerror}", hint="check app.evaluate.python"
            ) from exc
