"""Several worker processes behind one listening socket, each the same command with the socket handed down.

A worker takes connections only once its model is loaded, so that nobody is told to wait while another could answer; but
while none is loaded they start one by one, and the first takes connections at once, to say that it is live. A worker that is
killed is replaced; one that ends by itself ends them all, since the next would do the same (a model that cannot be served, a
bug). SIGTERM goes to every worker, and each leaves as a single one does; so they do when their supervisor is killed.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from model_service.settings import Settings

PAUSE = 0.5  # seconds before a worker is replaced, so that one which keeps crashing does not eat the machine

log = logging.getLogger(__name__)


class WorkerFailed(Exception):
    """A worker gave up; its own message stands above in the log."""

    def __init__(self) -> None:
        super().__init__("a worker gave up")


class Line:
    """A worker's line to its supervisor."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)

    def say_ready(self) -> None:
        """The model is loaded."""
        with suppress(OSError):
            self._socket.send(b"r")

    async def gone(self) -> None:
        """Waits until the supervisor is no more."""
        with suppress(OSError):
            await asyncio.get_running_loop().sock_recv(self._socket, 1)


async def supervise(settings: Settings, listener: socket.socket, stop: asyncio.Event) -> None:
    """Keeps `settings.workers` processes serving until `stop`, then waits for them to leave. Raises WorkerFailed."""
    with _shared_meters() as meters:
        async with asyncio.TaskGroup() as tasks:
            crew = _Crew(listener, meters, told=tasks.create_task(stop.wait()))
            for _ in range(settings.workers):
                tasks.create_task(crew.keep())


class _Crew:
    """The workers, and which of them are ready. `told` is done when they are to leave."""

    def __init__(self, listener: socket.socket, meters: Path, *, told: asyncio.Task[Any]) -> None:
        self._listener = listener
        self._meters = meters
        self._told = told
        self._turn = asyncio.Lock()
        self._ready: set[socket.socket] = set()

    async def keep(self) -> None:
        """One worker after the other. Raises WorkerFailed."""
        while not self._told.done():
            status = await self._one()
            if not self._told.done():
                log.error("A worker ended with status %s", status)
                if status >= 0:
                    raise WorkerFailed
                await asyncio.wait({self._told}, timeout=PAUSE)

    async def _one(self) -> int:
        """Starts a worker when it is its turn and sees it to its end. Its status."""
        async with AsyncExitStack() as turn:
            await turn.enter_async_context(self._turn)
            if self._told.done():
                return 0
            async with self._worker() as (worker, ready):
                ended = asyncio.create_task(worker.wait())
                if not self._ready:
                    await asyncio.wait({ready, ended, self._told}, return_when=asyncio.FIRST_COMPLETED)
                await turn.aclose()
                await asyncio.wait({ended, self._told}, return_when=asyncio.FIRST_COMPLETED)
                if not ended.done():
                    worker.send_signal(signal.SIGTERM)
                return await ended

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[tuple[asyncio.subprocess.Process, asyncio.Task[None]]]:
        """A process, killed at the end if it still runs, and the task that hears when it is ready."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours:
            with theirs:
                descriptors = (self._listener.fileno(), theirs.fileno())
                worker = await asyncio.create_subprocess_exec(
                    *self._command(*descriptors), pass_fds=descriptors, start_new_session=True
                )
            ready = asyncio.create_task(self._hear(ours))
            try:
                yield worker, ready
            finally:
                ready.cancel()
                await asyncio.wait({ready})
                self._ready.discard(ours)
                if worker.returncode is None:  # another one failed
                    worker.kill()
                    await worker.wait()

    async def _hear(self, line: socket.socket) -> None:
        with suppress(OSError):
            if await asyncio.get_running_loop().sock_recv(line, 1):
                self._ready.add(line)

    def _command(self, listener: int, line: int) -> list[str]:
        """This very command as one worker: later options win."""
        inner = ["--workers", "1", "--fd", str(listener), "--line", str(line), "--meters", str(self._meters)]
        late = ["--late", "yes"] if self._ready else []
        return [sys.executable, "-m", "model_service", *sys.argv[1:], *inner, *late]


@contextmanager
def _shared_meters() -> Iterator[Path]:
    """A file in memory where there is one: a container's root may be read-only."""
    shared = "/dev/shm"  # noqa: S108  # a fresh name is made in it
    folder = shared if os.access(shared, os.W_OK) else None
    with tempfile.NamedTemporaryFile(prefix="model-meters-", dir=folder) as file:
        yield Path(file.name)
