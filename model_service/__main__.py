"""`python -m model_service`: serves a model until SIGTERM, then leaves without losing a request.

Owns the process: signals, the order of start and stop, exit codes (0 stopped, 1 the model cannot be served).
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
from model_service.errors import ServiceError
from model_service.service import Service
from model_service.settings import Settings, read_settings
from model_service.workers import Line, WorkerFailed, supervise

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """uvicorn without its own signal handling: this module owns the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, alone or with workers. Raises ModelRejected, WorkerFailed."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with _listener(settings) as listener:
        if settings.workers > 1:
            await supervise(settings, listener, stop)
        else:
            await serve(settings, listener, stop)


async def serve(settings: Settings, listener: socket.socket, stop: asyncio.Event) -> None:
    """One worker: ready once its model is proven; after `stop` unready first, then gone. Raises ModelRejected."""
    service = Service(settings)
    line = None if settings.line is None else Line(settings.line)
    async with asyncio.TaskGroup() as tasks:
        told = tasks.create_task(stop.wait())
        orphaned = tasks.create_task(_stop_when_alone(line, stop))
        loading = tasks.create_task(_load(service, line))
        if settings.late:  # the other workers answer until this one can
            await asyncio.wait({loading, told}, return_when=asyncio.FIRST_COMPLETED)
        if not told.done():
            await _answer(service, listener, told)
        orphaned.cancel()
        loaded = loading.done()
        loading.cancel()
    await _leave(service, loaded=loaded)


async def _answer(service: Service, listener: socket.socket, told: asyncio.Task[Any]) -> None:
    """Takes requests until told to end them, unready first."""
    server = Server(_configuration(service))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve([listener]))
        await told
        service.draining = True
        await asyncio.sleep(service.settings.drain)
        service.leave_by = time.monotonic() + service.settings.grace
        server.should_exit = True


def _configuration(service: Service) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(service),
        http=bounded_protocol(service.settings),
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,  # nothing here asks who calls
        server_header=False,
        timeout_keep_alive=75,  # longer than a proxy keeps its side, so that the proxy is the one to close
        timeout_graceful_shutdown=math.ceil(service.settings.grace),
    )


async def _load(service: Service, line: Line | None) -> None:
    await service.load()
    gc.freeze()  # what is there now stays: looking through it again and again would hold up requests for 15 ms each time
    if line is not None:
        line.say_ready()


async def _stop_when_alone(line: Line | None, stop: asyncio.Event) -> None:
    if line is not None:
        await line.gone()
        stop.set()


async def _leave(service: Service, *, loaded: bool) -> None:
    """Closes what is open. A thread that is still in a model cannot be ended, only left behind with the process."""
    ended = await service.close(within=max(0.1, service.leave_by - time.monotonic()))
    if not (loaded and ended):
        log.warning("Left while the model was still busy")
        logging.shutdown()
        os._exit(0)


def main() -> int:
    """The command. Returns its exit code."""
    settings = read_settings()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # what callers do wrong is told to them
    refusals: list[str] = []
    try:
        uvloop.run(run(settings))
    except* (ServiceError, WorkerFailed, OSError) as failures:
        refusals = [_shown(failure) for failure in _leaves(failures)]
    for refusal in refusals:
        print(refusal, file=sys.stderr)
    return 1 if refusals else 0


def _listener(settings: Settings) -> socket.socket:
    """The listening socket, our own or the one that was handed down."""
    if settings.fd is not None:
        return socket.socket(fileno=settings.fd)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    return socket.create_server((settings.host, settings.port), family=family, backlog=2048)


def _leaves(failures: BaseExceptionGroup[Exception]) -> Iterator[BaseException]:
    for failure in failures.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            yield from _leaves(failure)
        else:
            yield failure


def _shown(failure: BaseException) -> str:
    hint = getattr(failure, "hint", "")
    return f"error: {failure}\nhint: {hint}" if hint else f"error: {failure}"


if __name__ == "__main__":
    sys.exit(main())
