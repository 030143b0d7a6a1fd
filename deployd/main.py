"""Runs the daemon as a process: signals, the service manager, and the order in which it stops.

First the HTTP server and the deploys in flight stop (a cut-over finishes, other deploys go back to queued), then the adapters
close. After a time limit the process exits although something hangs. A task that crashes ends the whole daemon with an
error; systemd starts it again, and it recovers.
"""

import asyncio
import gc
import logging
import os
from contextlib import closing, suppress
from pathlib import Path

from deployd.api.services import Services
from deployd.config.file import load
from deployd.daemon import Daemon, assemble
from deployd.engine.endpoint import settle
from deployd.errors import DeploydError
from deployd.host import systemd
from deployd.host.process import only_one, signals
from deployd.http.sockets import Sockets, sockets_of
from deployd.standing import standing
from deployd.tracing import exporter
from deployd.tracing.tracing import Tracing

logger = logging.getLogger(__name__)

# Extra time at the stop for a cut-over: HAProxy may take 20 s to start, a switch takes milliseconds.
_CUT_OVER_SECONDS = 30.0

# How long several events may take to come together in one line of `systemctl status`.
_SETTLED_SECONDS = 1.0
_HEALTH_SECONDS = 15.0


async def run(config_path: Path) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reloads the config. Raises ConfigError when it cannot start."""
    config = load(config_path)
    settle()
    stop, hangup = asyncio.Event(), asyncio.Event()
    with only_one(config.server.state_dir), signals(stop, hangup):
        async with assemble(config, config_path) as daemon:
            with sockets_of(config.server) as sockets:
                await _serve(daemon, sockets, stop, hangup)
    logger.info("deployd has stopped")


async def _serve(daemon: Daemon, sockets: Sockets, stop: asyncio.Event, hangup: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as tasks:
        web = [
            tasks.create_task(daemon.server.serve(sockets=sockets.public)),
            tasks.create_task(daemon.local.serve(sockets=sockets.local)),
        ]
        work = [
            tasks.create_task(daemon.serve()),
            tasks.create_task(daemon.reporting.serve()),
            tasks.create_task(_reload_on(hangup, daemon)),
            tasks.create_task(_feed_the_watchdog()),
            tasks.create_task(_tell_systemd(daemon.services)),
            tasks.create_task(_trace(daemon.services)),
        ]
        await daemon.server.listening.wait()
        await daemon.local.listening.wait()
        _settle()
        systemd.notify("READY=1")
        logger.info("deployd listens on %s", sockets)
        await stop.wait()
        systemd.notify("STOPPING=1")
        within = daemon.services.config.server.stop_timeout + _CUT_OVER_SECONDS
        asyncio.get_running_loop().call_later(within, _end_at_once)
        daemon.stop_taking()
        daemon.services.store.stop_waiting()
        for task in work:
            task.cancel()
        await asyncio.wait(web)


def _settle() -> None:
    """Exclude everything loaded so far from garbage collection, and collect less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()


async def _reload_on(hangup: asyncio.Event, daemon: Daemon) -> None:
    """Reload the config file on every SIGHUP; a broken file changes nothing."""
    while True:
        await hangup.wait()
        hangup.clear()
        try:
            await daemon.reload()
        except DeploydError as exc:
            logger.error("The old config stays in use: %s", exc)


async def _feed_the_watchdog() -> None:
    """Keep telling systemd that the event loop runs."""
    if (pause := systemd.watchdog_seconds()) is not None:
        while True:
            systemd.notify("WATCHDOG=1")
            await asyncio.sleep(pause)


async def _tell_systemd(services: Services) -> None:
    """Keep `systemctl status` up to date with what serves and what is under way."""
    if not systemd.listens():
        return
    while True:
        seen = services.events.latest
        try:
            states = await services.store.states([app.name for app in services.config.app])
            systemd.notify(f"STATUS={standing(states, services.scheduler.lanes.unhealthy())}")
        except DeploydError as exc:
            systemd.notify(f"STATUS={exc.message}")
        with suppress(TimeoutError):  # no event tells how a release is
            async with asyncio.timeout(_HEALTH_SECONDS):
                await anext(services.events.watch(after=seen))
        await asyncio.sleep(_SETTLED_SECONDS)


async def _trace(services: Services) -> None:
    """Send a trace of each deploy that ends, where the environment names a receiver."""
    if exporter.wanted(os.environ):
        instance = services.config.server.identity
        with closing(exporter.Exporter(instance)) as receiver:
            await Tracing(services.store, services.events, instance, receiver.send).serve()


def _end_at_once() -> None:
    """Exit although something hangs, such as an engine that does not answer. The state stays consistent, as after a kill."""
    logger.error("Stopping takes too long: exiting now, the next start goes on with the deploys in flight")
    os._exit(1)
