"""`python -m model_service`: serves a model until SIGTERM, then exits without losing a request.

Owns the process: signals, the order of start and stop, and the exit codes (0 stopped, 1 the model cannot be served, 2 a setting
is wrong).
"""

import asyncio
import contextlib
import gc
import logging
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import uvicorn
import uvloop

from model_service.app import create_app
from model_service.connection import bounded_protocol
from model_service.errors import ServiceError, explain
from model_service.service import Service
from model_service.settings import Settings, read_settings
from model_service.workers import SupervisorSocket, WorkerFailed, supervise

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn without its own signal handling: this module owns the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signal handlers as they are."""
        yield


async def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, in this process or with workers. Raises ModelRejected, WorkerFailed."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with _listener(settings) as listener:
        if settings.workers > 1:
            await supervise(settings, listener, stop)
        else:
            await serve(settings, listener, stop)


async def serve(settings: Settings, listener: socket.socket, stop: asyncio.Event) -> None:
    """One worker. It is ready once its model has passed its golden cases, and leaves after `stop`. Raises ModelRejected."""
    service = Service(settings)
    supervisor = None if settings.supervisor_fd is None else SupervisorSocket(settings.supervisor_fd)
    async with asyncio.TaskGroup() as tasks:
        stopped = tasks.create_task(stop.wait())
        watching = tasks.create_task(_stop_without_supervisor(supervisor, stop))
        loading = tasks.create_task(_load(service, supervisor))
        if settings.listen_when_ready:
            await asyncio.wait({loading, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            await _answer_requests(service, listener, stopped)
        watching.cancel()
        loaded = loading.done()
        loading.cancel()
    await _close(service, loaded=loaded)


async def _answer_requests(service: Service, listener: socket.socket, stopped: asyncio.Task[Any]) -> None:
    """Answers until `stopped`, then for as long as `drain` says with readiness off."""
    server = Server(_configuration(service))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve([listener]))
        await stopped
        service.draining = True
        await asyncio.sleep(service.settings.drain)
        service.exit_deadline = time.monotonic() + service.settings.grace
        server.should_exit = True


def _configuration(service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(service),
        http=bounded_protocol(service.settings),
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,  # the service never uses the caller's address
        server_header=False,
        timeout_keep_alive=75,  # longer than a proxy keeps an idle connection, so that the proxy closes first
        timeout_graceful_shutdown=math.ceil(service.settings.grace),
    )


async def _load(service: Service, supervisor: SupervisorSocket | None) -> None:
    await service.load()
    gc.freeze()  # all that is loaded now stays; without this, each full collection would hold up requests for 15 ms
    if supervisor is not None:
        supervisor.send_ready()


async def _stop_without_supervisor(supervisor: SupervisorSocket | None, stop: asyncio.Event) -> None:
    if supervisor is not None:
        await supervisor.wait_until_closed()
        stop.set()


async def _close(service: Service, *, loaded: bool) -> None:
    """Closes what is open. A thread that still runs the model cannot be stopped, so the process exits without waiting for it."""
    idle = await service.close(within=max(0.1, service.exit_deadline - time.monotonic()))
    if not (loaded and idle):
        log.warning("Exiting while the model is still busy")
        logging.shutdown()
        os._exit(0)


def main() -> int:
    """The command. Returns its exit code."""
    settings = read_settings()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # callers are told about their own faults
    messages: list[str] = []
    try:
        uvloop.run(run(settings))
    except* (ServiceError, WorkerFailed, OSError) as failures:
        messages = [explain(failure) for failure in _single(failures)]
    for message in messages:
        print(message, file=sys.stderr)
    return 1 if messages else 0


def _listener(settings: Settings) -> socket.socket:
    """The listening socket: a new one, or the one that the supervisor opened."""
    if settings.listener_fd is not None:
        return socket.socket(fileno=settings.listener_fd)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    return socket.create_server((settings.host, settings.port), family=family, backlog=2048)


def _single(failures: BaseExceptionGroup[Exception]) -> Iterator[BaseException]:
    """The exceptions in a group and in the groups inside it."""
    for failure in failures.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            yield from _single(failure)
        else:
            yield failure


if __name__ == "__main__":
    sys.exit(main())
