"""Several worker processes behind one listening socket. Each is the same command, and inherits the socket.

A worker takes connections only once its model is loaded, so that no caller gets a 503 while another worker could answer. The
first worker is different: it takes connections at once, to answer /v2/health/live, and the others start after it is ready. A
worker that was killed is replaced. A worker that exits by itself ends all, since the next one would do the same (a model that
cannot be served, a bug). SIGTERM goes to every worker. When the supervisor is killed, the workers leave too.
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

RESTART_DELAY = 0.5  # seconds before a killed worker is replaced, so that repeated crashes do not use up the machine

log = logging.getLogger(__name__)


class WorkerFailed(Exception):
    """A worker exited by itself; its own message is in the log above."""

    def __init__(self) -> None:
        super().__init__("a worker exited; its message is above")


class SupervisorSocket:
    """A worker's socket to its supervisor."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)

    def send_ready(self) -> None:
        """Tells the supervisor that the model is loaded."""
        with suppress(OSError):
            self._socket.send(b"r")

    async def wait_until_closed(self) -> None:
        """Waits until the supervisor has ended."""
        with suppress(OSError):
            await asyncio.get_running_loop().sock_recv(self._socket, 1)


async def supervise(settings: Settings, listener: socket.socket, stop: asyncio.Event) -> None:
    """Runs `settings.workers` processes until `stop`, then waits for them to exit. Raises WorkerFailed."""
    with _metrics_file() as metrics_file:
        async with asyncio.TaskGroup() as tasks:
            workers = _Workers(listener, metrics_file, stopped=tasks.create_task(stop.wait()))
            for _ in range(settings.workers):
                tasks.create_task(workers.keep_one())


class _Workers:
    """All workers, and which of them are ready. The task `stopped` is done when they must exit."""

    def __init__(self, listener: socket.socket, metrics_file: Path, *, stopped: asyncio.Task[Any]) -> None:
        self._listener = listener
        self._metrics_file = metrics_file
        self._stopped = stopped
        self._starting = asyncio.Lock()
        self._ready: set[socket.socket] = set()

    async def keep_one(self) -> None:
        """Runs one worker, and another one whenever it was killed. Raises WorkerFailed."""
        while not self._stopped.done():
            status = await self._run_one()
            if not self._stopped.done():
                log.error("A worker ended with status %s", status)
                if status >= 0:
                    raise WorkerFailed
                await asyncio.wait({self._stopped}, timeout=RESTART_DELAY)

    async def _run_one(self) -> int:
        """Starts a worker and waits for its end; the status."""
        async with AsyncExitStack() as starting:
            await starting.enter_async_context(self._starting)
            if self._stopped.done():
                return 0
            async with self._process() as (worker, ready):
                ended = asyncio.create_task(worker.wait())
                if not self._ready:  # this is the first one: the others start after it
                    await asyncio.wait({ready, ended, self._stopped}, return_when=asyncio.FIRST_COMPLETED)
                await starting.aclose()
                await asyncio.wait({ended, self._stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not ended.done():
                    worker.send_signal(signal.SIGTERM)
                return await ended

    @asynccontextmanager
    async def _process(self) -> AsyncIterator[tuple[asyncio.subprocess.Process, asyncio.Task[None]]]:
        """A worker's process, which is killed at the end if it still runs, and a task that ends when the worker is ready."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours:
            with theirs:
                descriptors = (self._listener.fileno(), theirs.fileno())
                worker = await asyncio.create_subprocess_exec(
                    *self._command(*descriptors), pass_fds=descriptors, start_new_session=True
                )
            ready = asyncio.create_task(self._wait_until_ready(ours))
            try:
                yield worker, ready
            finally:
                ready.cancel()
                await asyncio.wait({ready})
                self._ready.discard(ours)
                if worker.returncode is None:  # another worker failed
                    worker.kill()
                    await worker.wait()

    async def _wait_until_ready(self, worker: socket.socket) -> None:
        with suppress(OSError):
            if await asyncio.get_running_loop().sock_recv(worker, 1):
                self._ready.add(worker)

    def _command(self, listener_fd: int, supervisor_fd: int) -> list[str]:
        """The command of this process with more options. Where an option is there twice, the last one counts."""
        command = [sys.executable, "-m", "model_service", *sys.argv[1:], "--workers", "1"]
        command += ["--listener-fd", str(listener_fd), "--supervisor-fd", str(supervisor_fd)]
        command += ["--metrics-file", str(self._metrics_file), "--listen-when-ready", "yes" if self._ready else "no"]
        return command


@contextmanager
def _metrics_file() -> Iterator[Path]:
    """A file that all workers share. It is in memory if possible, since the root of a container may be read-only."""
    shared_memory = "/dev/shm"  # noqa: S108  # the file in it gets a fresh name
    folder = shared_memory if os.access(shared_memory, os.W_OK) else None
    with tempfile.NamedTemporaryFile(prefix="model-metrics-", dir=folder) as file:
        yield Path(file.name)
