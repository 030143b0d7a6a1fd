"""A child process: started without copying the daemon's memory, read through pipes, waited for and closed.

uvloop forks the whole daemon for each process, which stops all else for 3 to 50 ms; `subprocess` does not.
"""

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from deployd.tasks import uninterrupted


class Child:
    """A process in a group of its own, with what it prints. Whoever starts it closes it."""

    def __init__(self, process: subprocess.Popen[bytes], limit: int) -> None:
        loop = asyncio.get_running_loop()
        self.pid = process.pid
        self.stdout = asyncio.StreamReader(limit)
        self.stderr = asyncio.StreamReader(limit)
        self._process = process
        self._pipes: list[_Pipe] = []
        self._ended: asyncio.Future[int] = loop.create_future()
        threading.Thread(target=self._reap, args=(loop,), name=f"wait for {process.pid}", daemon=True).start()

    @classmethod
    async def start(
        cls, command: Sequence[str], *, stdin: IO[bytes], environment: Mapping[str, str], directory: Path, limit: int
    ) -> "Child":
        """Start it. `limit`: how many bytes of each output wait here to be read. OSError when it cannot be started."""
        child = cls(
            subprocess.Popen(  # noqa: ASYNC220 - it takes less than a millisecond
                command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd=directory,
                start_new_session=True,
            ),
            limit,
        )
        try:
            await uninterrupted(child._connect())
        except BaseException:
            child.kill(signal.SIGKILL)
            await uninterrupted(child.close())
            raise
        return child

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None while it runs."""
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        """Wait until it has ended; its exit code."""
        return await asyncio.shield(self._ended)

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to its whole group, if there is one left."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def close(self) -> None:
        """Read no more, and wait until it has ended."""
        for pipe in self._pipes:
            pipe.close()
        for pipe in self._pipes:
            await pipe.closed.wait()
        await self.wait()

    async def _connect(self) -> None:
        for source, reader in ((self._process.stdout, self.stdout), (self._process.stderr, self.stderr)):
            pipe = _Pipe(reader)
            self._pipes.append(pipe)
            await asyncio.get_running_loop().connect_read_pipe(lambda pipe=pipe: pipe, source)  # type: ignore[misc]

    def _reap(self, loop: asyncio.AbstractEventLoop) -> None:
        code = self._process.wait()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._tell, code)

    def _tell(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)


class _Pipe(asyncio.StreamReaderProtocol):
    """Fills a reader, and says when its end of the pipe is closed."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self.closed = asyncio.Event()
        self._source: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._source = transport

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.closed.set()

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
        else:
            self.closed.set()
