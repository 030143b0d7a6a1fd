"""Several worker processes behind one listening socket, each the same command with the socket handed down.

A worker that is killed is replaced; one that ends by itself ends them all, since the next would do the same (a model that
cannot be served, a bug). SIGTERM goes to every worker, and each leaves as a single one does.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_service.settings import Settings

PAUSE = 0.5  # seconds before a worker is replaced, so that one which keeps crashing does not eat the machine

log = logging.getLogger(__name__)


class WorkerFailed(Exception):
    """A worker gave up; its own message stands above in the log."""

    def __init__(self) -> None:
        super().__init__("a worker gave up")


async def supervise(settings: Settings, listener: socket.socket, stop: asyncio.Event) -> None:
    """Keeps `settings.workers` processes serving until `stop`, then waits for them to leave. Raises WorkerFailed."""
    with _shared_meters() as meters:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(settings.workers):
                tasks.create_task(_keep(listener, meters, stop))


async def _keep(listener: socket.socket, meters: Path, stop: asyncio.Event) -> None:
    while not stop.is_set():
        worker = await asyncio.create_subprocess_exec(
            *_command(listener, meters), pass_fds=(listener.fileno(),), start_new_session=True
        )
        try:
            status = await _until(stop, worker)
        except asyncio.CancelledError:  # another worker failed
            if worker.returncode is None:
                worker.kill()
                await worker.wait()
            raise
        if not stop.is_set():
            log.error("Worker %s ended with status %s", worker.pid, status)
            if status >= 0:
                raise WorkerFailed
            await asyncio.sleep(PAUSE)


async def _until(stop: asyncio.Event, worker: asyncio.subprocess.Process) -> int:
    """The worker's status once it has ended, by itself or because it was told to stop."""
    ended, told = asyncio.ensure_future(worker.wait()), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            worker.send_signal(signal.SIGTERM)
        return await ended
    finally:
        told.cancel()


def _command(listener: socket.socket, meters: Path) -> list[str]:
    """This very command as one worker: later options win."""
    inner = ["--workers", "1", "--fd", str(listener.fileno()), "--meters", str(meters)]
    return [sys.executable, "-m", "model_service", *sys.argv[1:], *inner]


@contextmanager
def _shared_meters() -> Iterator[Path]:
    """A file in memory where there is one: a container's root may be read-only."""
    shared = "/dev/shm"  # noqa: S108  # a fresh name is made in it
    folder = shared if os.access(shared, os.W_OK) else None
    with tempfile.NamedTemporaryFile(prefix="model-meters-", dir=folder) as file:
        yield Path(file.name)
