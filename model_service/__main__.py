"""`python -m model_service`: serves a model until SIGTERM, then leaves without losing a request.

Owns the process: signals, the order of start and stop, exit codes (0 stopped, 1 the model cannot be served).
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Iterator

import uvicorn
import uvloop

from model_service.app import create_app
from model_service.errors import ServiceError
from model_service.service import Service
from model_service.settings import Settings, read_settings


class Server(uvicorn.Server):
    """uvicorn without its own signal handling: this module owns the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Raises ModelRejected."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    service = Service(settings)
    server = Server(
        uvicorn.Config(
            create_app(service),
            host=settings.host,
            port=settings.port,
            http="httptools",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_keep_alive=75,  # longer than a proxy keeps its side, so that the proxy is the one to close
            timeout_graceful_shutdown=round(settings.grace),
        )
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(service.load())
        web = tasks.create_task(server.serve())
        await stop.wait()
        service.draining = True
        await asyncio.sleep(settings.drain)
        server.should_exit = True
        await web
    await service.close()


def main() -> int:
    """The command. Returns its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    settings = read_settings()
    refusals: list[str] = []
    try:
        uvloop.run(serve(settings))
    except* ServiceError as failures:
        refusals = [f"error: {one}\nhint: {getattr(one, 'hint', '')}" for one in failures.exceptions]
    for refusal in refusals:
        print(refusal, file=sys.stderr)
    return 1 if refusals else 0


if __name__ == "__main__":
    sys.exit(main())
