"""A program of the operator's: run without the daemon's environment, bounded in time, memory and output, and killed with
everything that it started. Knows nothing of gates.
"""

import asyncio
import codecs
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from deployd.host.child import Child
from deployd.tasks import together, uninterrupted

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NOT_FOUND, NOT_RUN = 127, 126
"""The exit codes of a command that is not there, and of one that cannot be run."""

_WARDEN = Path(__file__).with_name("warden.py")
_CHUNK = 64 * 1024
_KEPT = 64 * 1024
_MOST_OUTPUT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: its exit code, None when it took too long; the end of each of its outputs."""

    code: int | None
    stdout: str
    stderr: str


async def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    timeout: float,
    memory: int,
    tell: Callable[[str], object],
) -> Ended:
    """Run it in a directory of its own, which is its HOME, with nothing in its environment but a PATH and `environment`.

    `tell` is given what it prints, at most a MiB. After `timeout` seconds, when it and what it started use more than `memory`
    bytes, when the caller is cancelled, and when it has ended, everything that it started is killed. OSError when it cannot be
    started.
    """
    with tempfile.TemporaryDirectory(prefix="deployd-", ignore_cleanup_errors=True) as directory:
        base = {"PATH": PATH, "HOME": directory, "TMPDIR": directory, "LANG": "C.UTF-8"}
        warden = [sys.executable, "-I", "-S", str(_WARDEN), str(os.getpid()), str(memory)]
        with _nothing() as nothing:
            child = await Child.start(
                [*warden, *command],
                stdin=nothing,
                environment={**base, **environment},
                directory=Path(directory),
                limit=_CHUNK,
            )
        out, err = _Output(tell), _Output(tell)
        code: int | None = None
        try:
            async with asyncio.timeout(timeout):
                _, _, code = await together(out.read(child.stdout), err.read(child.stderr), child.wait())
        except TimeoutError:
            pass
        finally:
            child.kill(signal.SIGTERM)
            await uninterrupted(child.close())
        return Ended(code, out.end, err.end)


def _nothing() -> IO[bytes]:
    return Path(os.devnull).open("rb")


class _Output:
    """Passes one output on as it comes, and keeps its end."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._told = 0
        self.end = ""

    async def read(self, stream: asyncio.StreamReader) -> None:
        while block := await stream.read(_CHUNK):
            text = self._decoder.decode(block)
            self.end = (self.end + text)[-_KEPT:]
            if self._told <= _MOST_OUTPUT:
                self._told += len(block)
                self._tell(text)
                if self._told > _MOST_OUTPUT:
                    self._tell("\n(more output is left out)\n")
        if self.end and not self.end.endswith("\n"):
            self._tell("\n")
